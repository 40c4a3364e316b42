"""Bodies: a call whose head announces one is made with the whole of it, or is not made.

A server may lose a body on the way: it stops at an offered upgrade, or its client hangs up in the middle. Many calls
here mean something else without their body (a release by lease becomes a bare one), and others never read it. So the
body is read and counted before any route is chosen, whatever the server, the route and the method.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import errors, headers
from api.middleware.body_limit import BODY_MOST_BYTES

LENGTH, CODING, OFFER = b"content-length", b"transfer-encoding", b"upgrade"
DIGITS_MOST = 16  # more are beyond any limit, and Python refuses to read thousands
CLOSE = {"Connection": "close"}  # whatever else comes on this connection may be the rest of the body


class WholeBodies:
    """Answers 400 to a body that is not what its head announced, and 413 to one over 1 MiB."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            named = headers.by_name(scope)
            if LENGTH in named or CODING in named:
                await self._make(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _make(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            announced = _announced(scope)
            if announced != 0:
                receive = _giving(await _whole(receive, announced, lossy=OFFER in headers.by_name(scope)), receive)
        except _IncompleteError:
            await errors.answer(errors.incomplete(scope["path"]), CLOSE)(scope, receive, send)
        except _TooLargeError:
            await errors.answer(errors.too_large(scope["path"]), CLOSE)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _IncompleteError(Exception):
    """The body is not what was announced, or what was announced is not clear."""


class _TooLargeError(Exception):
    """The body is larger than any may be."""


def _announced(scope: Scope) -> int | None:
    """The body's length in bytes; None when it is chunked. With two statements neither counts."""
    named = headers.by_name(scope)
    if CODING in named:
        if LENGTH in named:
            raise _IncompleteError
        return None
    digits = (headers.only(scope, LENGTH) or b"").strip(b" \t")
    if not digits.isdigit():
        raise _IncompleteError
    length = int((digits.lstrip(b"0") or b"0")[:DIGITS_MOST])
    if length > BODY_MOST_BYTES:
        raise _TooLargeError
    return length


async def _whole(receive: Receive, announced: int | None, *, lossy: bool) -> bytes:
    """The body. A `lossy` server may have dropped a chunked one: then none that is empty counts."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise _IncompleteError  # its client has hung up
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_MOST_BYTES:
            raise _TooLargeError
        more = message.get("more_body", False)
    if size != announced and (announced is not None or (lossy and not size)):
        raise _IncompleteError
    return b"".join(parts)


def _giving(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body in one message, and then goes on."""
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give
