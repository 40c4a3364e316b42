"""What a key looks like, and what is kept of it."""

import hashlib
import re
import secrets
import string
import zlib
from typing import Literal, get_args

Scope = Literal["read", "lock", "events", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

PREFIX = "bf_"
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
HINT_LENGTH = 8
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


def make() -> str:
    """A new key: `bf_`, 32 random digits of base 62, and 6 that are the CRC-32 of all before."""
    body = PREFIX + "".join(secrets.choice(DIGITS) for _ in range(RANDOM_LENGTH))
    return body + _checksum(body)


def digest(presented: str) -> bytes | None:
    """The SHA-256 of a presented key, by which it is found; None for what cannot be a key."""
    if FORM.fullmatch(presented) is None or _checksum(presented[:-CHECKSUM_LENGTH]) != presented[-CHECKSUM_LENGTH:]:
        return None
    return hashlib.sha256(presented.encode("ascii")).digest()


def hint(key: str) -> str:
    """The first characters: enough to recognise a key by, and nothing to guess the rest from."""
    return key[:HINT_LENGTH]


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode("ascii")), ""
    while len(digits) < CHECKSUM_LENGTH:  # 62**6 is more than 2**32
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits
