"""Head and body of a response are sent in one write.

uvicorn writes them separately, and uvloop sends each at once: two system calls per response and two packets, which the
client reads one after the other. Here the head waits for the next write, but no longer than the current turn of the
event loop, so that the head of an event stream is sent before its first event.
"""

import asyncio
from typing import Any


class Cork:
    """A transport that joins two writes of one turn of the loop. Everything else is passed to the inner transport."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held = b""

    def write(self, data: bytes) -> None:
        if self._held:
            self._held += data
            self._flush()
        elif data:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  -- any attribute of a transport
        return getattr(self._transport, name)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():  # the client may have hung up meanwhile
            self._transport.write(held)
