"""What happens around every request. Pure ASGI: a wrapper that buffers would cost more than the lock change itself."""

import time

import structlog
from asgi_correlation_id import correlation_id
from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors, traces
from api.metrics import Metrics
from domain import log

BODY_MOST_BYTES = 1_048_576

log_ = log.get("api.access")


class BodyLimit:
    """Answers 413 to a body over 1 MiB, whether it says its length or not, before it is read into memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _announced(scope) > BODY_MOST_BYTES:
            problem = errors.too_large(scope["path"])
            await errors.answer(problem, {"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _counting(receive), send)


class Observer:
    """Counts, times and logs each request under its request id."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()
        # Bound until the next request begins, not cleared at the end: a defect is logged further out.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=correlation_id.get())
        traces.note(scope)

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observe)
        finally:
            seconds = time.perf_counter() - started
            route = _route(scope)
            self._metrics.request(method=scope["method"], route=route, status=status, seconds=seconds)
            log_.info("http_request", method=scope["method"], route=route, status=status, ms=round(seconds * 1_000, 2))


def _announced(scope: Scope) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _counting(receive: Receive) -> Receive:
    """Count what really comes: a chunked body announces nothing."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > BODY_MOST_BYTES:
            raise HTTPException(413, errors.TOO_LARGE_DETAIL)
        return message

    return counted


def _route(scope: Scope) -> str:
    """The route's template, never the path: paths are without bound, and hold ids."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or getattr(route, "path", "unknown"))
