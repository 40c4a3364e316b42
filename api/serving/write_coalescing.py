"""Answers leave in one piece.

uvicorn writes the head of an answer and its body apart, and uvloop sends each at once: two system calls for every call,
and two packets, which whoever asked reads one after the other. Here the head waits for what follows it, and for nothing
longer than the present turn of the event loop: an event stream's first bytes come when there is nothing to say yet.
"""

import asyncio
from typing import Any


class Cork:
    """A transport that joins two writes of one turn of the loop. All else it leaves to the one inside."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held = b""

    def write(self, data: bytes) -> None:
        if self._held:
            self._held += data
            self._let_go()
        elif data:
            self._held = data
            self._loop.call_soon(self._let_go)

    def close(self) -> None:
        self._let_go()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  -- whatever else a transport has
        return getattr(self._transport, name)

    def _let_go(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():  # its client may have hung up since
            self._transport.write(held)
