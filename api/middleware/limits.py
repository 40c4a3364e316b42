"""What one process takes on: bounds that hold before anything of a request is looked at, on every way.

The limits of a request's parts come from the longest that this API has a use for, with room to spare. A body must have
come within 10 s: a slower client holds memory and a connection for nothing. Slow headers never reach an app; see
docs/proxy.md.
"""

from collections.abc import Mapping
from typing import Any

from limits import RateLimitItem
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http import errors
from api.middleware.body_deadline import CLOSE, _TooSlowError, in_time
from api.middleware.rates import Rate, too_often

HEADERS_MOST_BYTES = 32_768
QUERY_MOST_BYTES = 8_192
PATH_MOST_BYTES = 8_192
STREAMS = "/events/stream"
# Asked by orchestrators and Prometheus: a process that is busy is neither dead nor silent.
ALWAYS_ANSWERED = frozenset({"/health", "/livez", "/readyz", "/metrics"})


class Limits:
    """Refuses what is too large, too slow, too often or too much at once.

    `open_most` calls may be open at once, those that wait in line and event streams included, and half of it may be
    streams. `rate` is how often one caller may call this process; None is as often as it likes. Where there are keys
    (`by_key`) a caller is identified by its key, and until the key is known to be valid by its address too: see `Rate`.
    """

    def __init__(
        self, app: ASGIApp, *, open_most: int, rate: RateLimitItem | None = None, by_key: bool = False
    ) -> None:
        self._app = app
        self.open = 0
        self._open_most = open_most
        self._streams = 0
        self._streams_most = max(1, open_most // 2)
        self._rate = None if rate is None else Rate(rate, by_key=by_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _oversized(scope)
        if refusal is not None:
            await errors.answer(refusal, CLOSE)(scope, receive, send)
        elif scope["path"] in ALWAYS_ANSWERED:
            await self._serve_in_time(scope, receive, send)
        elif self._rate is not None and (seconds := self._rate.refused(scope)):
            headers = {"Retry-After": str(seconds)}
            await errors.answer(too_often(scope["path"]), headers)(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_stream = scope["path"].endswith(STREAMS)
        if self.open >= self._open_most or (is_stream and self._streams >= self._streams_most):
            await errors.answer(*errors.overloaded(scope["path"]))(scope, receive, send)
            return
        self.open += 1
        self._streams += is_stream
        try:
            await self._serve_in_time(scope, receive, send)
        finally:
            self.open -= 1
            self._streams -= is_stream

    async def _serve_in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, in_time(scope, receive), send)
        except _TooSlowError as error:  # FastAPI answers it by itself, where it reads the body
            await errors.answer_to(error, instance=scope["path"])(scope, receive, send)


def _oversized(scope: Scope) -> Mapping[str, Any] | None:
    """The problem of a request that is too large before its body, if it is."""
    path = scope["path"]
    if len(scope["query_string"]) > QUERY_MOST_BYTES or len(scope["raw_path"] or b"") > PATH_MOST_BYTES:
        detail = f"The path or the query is longer than {QUERY_MOST_BYTES // 1024} KiB. Shorten it."
        return errors.problem(414, "uri-too-long", "URI Too Long", detail, path[:PATH_MOST_BYTES])
    size = 0
    for name, value in scope["headers"]:  # a plain loop: this is asked of every call
        size += len(name) + len(value)
    if size > HEADERS_MOST_BYTES:
        detail = f"The headers are larger than {HEADERS_MOST_BYTES // 1024} KiB. Send fewer or shorter headers."
        return errors.problem(431, "headers-too-large", "Request Header Fields Too Large", detail, path)
    return None
