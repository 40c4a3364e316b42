"""Request ids: in every response, and in every log line of the request."""

import re
from contextvars import ContextVar

from starlette.types import Scope

from api.http import headers, random_ids
from domain import log

HEADER = b"x-request-id"
ALLOWED = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def begin(scope: Scope) -> str:
    """Set the id of this request: the caller's, if it is safe to log, else a new one."""
    given = headers.only(scope, HEADER)
    request_id = given.decode() if given and ALLOWED.fullmatch(given) else random_ids.new_hex()
    _current.set(request_id)
    # Bound until the next request begins, not cleared at the end: an unexpected error is logged by an outer layer.
    log.bind(request_id=request_id)
    return request_id


def current() -> str:
    """The id of the request that is being served; empty outside a request."""
    return _current.get()
