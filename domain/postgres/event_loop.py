"""Domain calls on an event loop: synchronous code that waits for Postgres without holding up the loop.

The code runs in a greenlet, which is set aside where it would wait and resumed by the loop when the socket is ready. So
it needs no thread, and no thread competes with the loop for the interpreter. The technique is that of SQLAlchemy's own
asyncio extension, whose bridge this uses; here it meets psycopg2's wait callback (see `engines`).

Only waiting for the server and `pause` are bridged. Whatever else blocks, blocks the loop.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ParamSpec, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

P = ParamSpec("P")
T = TypeVar("T")


async def run(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the call returns or raises. Cancelled, it breaks the connection that it was waiting for."""
    return await greenlet_spawn(partial(call, *args, **kwargs))


def active() -> bool:
    """Whether this code runs under `run`."""
    return in_greenlet()


def pause(seconds: float) -> None:
    """Sleep, wherever this is called."""
    if active():
        wait_for(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def wait_for(awaitable: Awaitable[T]) -> T:
    """Let the loop go on until this is done; only under `run`."""
    return await_only(awaitable)


def ready(fileno: int, *, reading: bool, seconds: float | None) -> bool:
    """Wait until the socket can be read or written, but only for so long; only under `run`."""
    return wait_for(_ready(fileno, reading=reading, seconds=seconds))


async def _ready(fileno: int, *, reading: bool, seconds: float | None) -> bool:
    loop = asyncio.get_running_loop()
    body: asyncio.Future[bool] = loop.create_future()
    timer = None if seconds is None else loop.call_later(seconds, _tell, body, False)  # noqa: FBT003
    add, remove = (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)
    add(fileno, _tell, body, True)  # noqa: FBT003
    try:
        return await body
    finally:
        remove(fileno)
        if timer is not None:
            timer.cancel()


def _tell(answer: asyncio.Future[bool], ready: bool) -> None:  # noqa: FBT001
    if not answer.done():
        answer.set_result(ready)
