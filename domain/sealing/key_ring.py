"""Passwords at rest: AES-256-GCM under a ring of keys, each ciphertext bound to its user.

A sealed password reads `v1.<key id>.<base64url of nonce and ciphertext>`. The user's id is the additional
authenticated data, so a ciphertext copied to another row does not open. The first key of the ring seals, all open.
Source: NIST SP 800-38D (GCM, 96-bit random nonces).
"""

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import SealBroken, SealingUnconfigured

KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True)
class KeyRing:
    """Key ids to 32-byte keys, in order: the first seals."""

    keys: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def seal(self, password: str, *, user_id: UUID) -> str:
        """The password sealed for this user alone. Raises SealingUnconfigured without a key."""
        if not self.keys:
            raise SealingUnconfigured
        key_id, key = next(iter(self.keys.items()))
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + AESGCM(key).encrypt(nonce, password.encode(), user_id.bytes)
        return f"v1.{key_id}.{base64.urlsafe_b64encode(sealed).decode()}"

    def unseal(self, sealed: str, *, user_id: UUID) -> str:
        """The password of this user. Raises SealBroken for anything that was not sealed for it by this ring."""
        try:
            version, key_id, body = sealed.split(".")
            raw = base64.b64decode(body, altchars=b"-_", validate=True)
            if version != "v1":
                raise SealBroken
            return AESGCM(self.keys[key_id]).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], user_id.bytes).decode()
        except (ValueError, KeyError, binascii.Error, InvalidTag) as error:
            raise SealBroken from error


def parse(text: str) -> KeyRing:
    """A ring from lines or comma-separated items `<id>:<base64 of 32 bytes>`; `#` begins a comment.

    Raises ValueError that names the item, never its key.
    """
    keys: dict[str, bytes] = {}
    items = [item.strip() for line in text.splitlines() for item in line.split("#")[0].split(",")]
    for number, item in enumerate(filter(None, items), start=1):
        key_id, _, encoded = item.partition(":")
        if key_id in keys:
            raise ValueError(f"sealing key {number} has the id of an earlier one, which then would open nothing")
        keys[_checked_id(key_id, number=number)] = _checked_key(encoded, number=number)
    return KeyRing(MappingProxyType(keys))


def load(*, text: str, file: str | None) -> KeyRing:
    """The ring from the setting itself, or from the file it names."""
    return parse(Path(file).read_text(encoding="ascii") if file and not text else text)


def make_file(path: Path) -> bool:
    """Write a new ring of one key that only its owner may read, unless the file exists; True when made."""
    if path.exists():  # perhaps in a folder that cannot be written to
        return False
    key_id = f"k{secrets.token_hex(4)}"
    line = f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n"
    whole = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    _write_private(whole, line)
    try:
        path.hardlink_to(whole)  # it appears whole or not at all, whoever else makes it or dies meanwhile
    except FileExistsError:
        return False
    finally:
        whole.unlink()
    return True


def _write_private(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _checked_id(key_id: str, *, number: int) -> str:
    if not key_id.isalnum() or not key_id.isascii():
        raise ValueError(f"sealing key {number} needs an id of letters and digits: id:base64key")
    return key_id


def _checked_key(encoded: str, *, number: int) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:  # not base64, or not even ASCII
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"sealing key {number} is not the base64 of {KEY_BYTES} bytes")
    return key
