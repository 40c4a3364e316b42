"""The trace of a call: the W3C `traceparent` header, which is copied into the events of the call's changes.

https://www.w3.org/TR/trace-context/. A header that is malformed or repeated is ignored.
"""

import re
from contextvars import ContextVar

from starlette.types import Scope

from api.http import headers

FORM = re.compile(
    rb"(?P<version>(?!ff)[0-9a-f]{2})-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    rb"(?P<more>-[\x21-\x7e]*)?"
)
SAMPLED = 1  # the only flag of version 00

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def note(scope: Scope) -> None:
    """Set the trace of this call, or that it has none."""
    given = headers.only(scope, b"traceparent")
    _current.set(None if given is None else parse(given))


def current() -> str | None:
    """The `traceparent` of the current call."""
    return _current.get()


def parse(header: bytes) -> str | None:
    """The header in the form of version 00; None when it is malformed. Fields of later versions are dropped."""
    found = FORM.fullmatch(header)
    if found is None:
        return None
    if found["version"] == b"00":
        return None if found["more"] is not None else header.decode()
    return f"00-{found['ids'].decode()}-{int(found['flags'], 16) & SAMPLED:02x}"
