"""A body must arrive in time."""

import asyncio

from fastapi import HTTPException
from starlette.types import Message, Receive, Scope

BODY_SECONDS = 10.0
ANNOUNCE_A_BODY = (b"content-length", b"transfer-encoding")
CLOSE = {"Connection": "close"}


class _TooSlowError(HTTPException):
    def __init__(self) -> None:
        super().__init__(408, f"The body did not come within {BODY_SECONDS:.0f} s.", CLOSE)


def in_time(scope: Scope, receive: Receive) -> Receive:
    """A `receive` that raises HTTPException 408 when the body is late; what comes after the body has all the time."""
    for name, value in scope["headers"]:
        if name in ANNOUNCE_A_BODY and value != b"0":
            break
    else:
        return receive
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    complete = False

    async def receive_in_time() -> Message:
        nonlocal complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise _TooSlowError from None
        complete = not message.get("more_body", False)
        return message

    return receive_in_time
