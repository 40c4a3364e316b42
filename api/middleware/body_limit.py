"""Bodies over 1 MiB are refused before they are read."""

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import errors

BODY_MOST_BYTES = 1_048_576


class BodyLimit:
    """Answers 413 to a body over 1 MiB that no header announced, as HTTP/2 allows.

    For the others see `whole_bodies`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, _counting(receive), send)


def _counting(receive: Receive) -> Receive:
    """Count what really comes."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > BODY_MOST_BYTES:
            raise HTTPException(413, errors.TOO_LARGE_DETAIL)
        return message

    return counted
