"""uvicorn as we run it, whether one process serves or several do."""

import asyncio
import contextlib
import resource
import signal
import socket
import sys
import threading
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from api.serving import protocol
from domain.processes import gc_tuning

STOP_SECONDS = 10
ABORT_SECONDS = 2.0
# Longer than clients and proxies keep an idle connection (httpx 5 s, nginx 60 s, as they come): whoever hangs up first,
# it must not be the server, or a call that is sent at that moment gets no answer.
KEEP_ALIVE_SECONDS = 75


def config(app: ASGIApp, *, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=protocol.Protocol,
        ws="none",  # an offer of WebSocket is ignored like any other
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks where a caller comes from
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


class Server(uvicorn.Server):
    """Tells the app of the signal at once, not when the last request has ended: a long poll would hold that up."""

    def __init__(self, config: uvicorn.Config, *, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(ABORT_SECONDS, self._abort_stalled)
        await super().shutdown(sockets)

    def _abort_stalled(self) -> None:
        """Hang up on clients that do not read the end of what they asked for; their calls are over."""
        for connection in list(self.server_state.connections):
            if connection.transport is not None and connection.transport.is_closing():
                connection.transport.abort()


def allow_many_connections() -> None:
    """Each is an open file, of which shells and systemd let a process have 1,024 until it asks for more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS has no end of them, and takes that for no number
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(server: Server, sockets: list[socket.socket] | None = None) -> int:
    """Serve until a signal; returns the exit code. With `sockets` it does not listen itself."""
    allow_many_connections()
    gc_tuning.settle()
    # uvicorn raises the signal again when it has stopped: then this ends the process as a success.
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets)
    return 0 if server.started else 1


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
