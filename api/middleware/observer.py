"""What happens around every request. Pure ASGI: a wrapper that buffers would cost more than the lock change itself."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import audit_log
from api.http import errors, request_ids, security_headers, traceparent
from api.observability.metrics import Metrics
from domain import log

access = log.Routine("api.access", event="http_request")


class Observer:
    """Gives each request its id (the caller's `X-Request-ID`, or a new one), counts, times and logs it."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        started = time.perf_counter()
        request_id = request_ids.begin(scope)
        traceparent.note(scope)

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = message["headers"]
                own = (request_ids.HEADER, request_id.encode())
                message["headers"] = [*given, *security_headers.beside(given), own]
            await send(message)

        try:
            await self._app(scope, receive, observe)
        except Exception as error:
            if not status:  # FastAPI answers its own defects before it lets them through
                await errors.answer_to(error, instance=scope["path"])(scope, receive, observe)
            raise
        finally:
            seconds, status = time.perf_counter() - started, status or 500
            route = _route(scope)
            self._metrics.request(method=scope["method"], route=route, status=status, seconds=seconds)
            if status in audit_log.REFUSED:
                audit_log.note_refusal(self._metrics, scope, route=route, status=status)
            access.info(method=scope["method"], route=route, status=status, ms=round(seconds * 1_000, 2))


def _route(scope: Scope) -> str:
    """The route's template, never the path: paths are without bound, and hold ids."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or getattr(route, "path", "unknown"))
