"""Request ids: on every answer, and in every line that is logged while the request is served."""

import re
from contextvars import ContextVar

from starlette.types import Scope

from api.http import headers, random_ids
from domain import log

HEADER = b"x-request-id"
ALLOWED = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def begin(scope: Scope) -> str:
    """The id of this request: its caller's, if that may be logged, else a new one."""
    given = headers.only(scope, HEADER)
    request_id = given.decode() if given and ALLOWED.fullmatch(given) else random_ids.new_hex()
    _current.set(request_id)
    # Bound until the next request begins, not cleared at the end: a defect is logged further out.
    log.bind(request_id=request_id)
    return request_id


def current() -> str:
    """The id of the request that is being served; empty outside of one."""
    return _current.get()
