"""uvicorn as we run it, in one process or in several."""

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
# Longer than clients and proxies keep an idle connection by default (httpx 5 s, nginx 60 s). If the server closed it
# first, a call sent at that moment would get no response.
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
        proxy_headers=False,  # nothing here uses the caller's address
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


class Server(uvicorn.Server):
    """Sets `stopping` at the signal, not after the last request: long polls end early because of it."""

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
        """Abort connections whose clients do not read the end of a response; their calls are complete."""
        for connection in list(self.server_state.connections):
            if connection.transport is not None and connection.transport.is_closing():
                connection.transport.abort()


def allow_many_connections() -> None:
    """Raise the limit of open files, one per connection; shells and systemd start a process with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports an unlimited maximum and refuses to set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(server: Server, sockets: list[socket.socket] | None = None) -> int:
    """Serve until a stop signal; returns the exit code. With `sockets` given it opens none itself."""
    allow_many_connections()
    gc_tuning.settle()
    # uvicorn raises the signal again after it has stopped: this handler then ends the process with exit code 0.
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets)
    return 0 if server.started else 1


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
