"""One of several API processes, as the supervisor starts it: `python -m api.serving.child LIFELINE INLET`."""

import asyncio
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
from prometheus_client import values
from pydantic import ValidationError

from api.main import create_app
from api.services import Services
from api.serving import server
from api.serving.connection_passing import Inlet
from domain import log
from domain.configuration import start_failures
from domain.configuration.settings import Settings
from domain.processes import parent_watch

BEAT_TICKS = 5  # uvicorn ticks ten times a second


class Server(server.Server):
    """Serves the connections that the supervisor passes to it, and does not listen itself."""

    def __init__(self, config: uvicorn.Config, *, services: Services, end: socket.socket) -> None:
        super().__init__(config, stopping=services.stopping)
        self._metrics = services.metrics
        self._inlet = Inlet(end, make=self._protocol)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ignore SIGINT: Ctrl-C reaches every process of a terminal, but the supervisor decides when children stop."""
        if sig != signal.SIGINT:
            super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._inlet.start()

    async def on_tick(self, counter: int) -> bool:
        if counter % BEAT_TICKS == 0:
            self._inlet.beat(held=len(self.server_state.connections))
            self._metrics.refresh()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._inlet.close()
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        """A protocol made as uvicorn makes it for its own sockets."""
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _count_as(pid: int) -> None:
    """Fix the pid: prometheus_client calls getpid at every increment, in case of a fork. Our processes never fork."""
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: pid)  # type: ignore[no-untyped-call]


def main(lifeline_fileno: int, inlet_fileno: int) -> int:
    parent_watch.hold(lifeline_fileno)
    try:
        settings = Settings()
        log.configure(level=settings.log_level, style=settings.log_format, stream=log.Scribe(sys.stderr))
        _count_as(os.getpid())
        app = create_app(settings, counters=os.environ["PROMETHEUS_MULTIPROC_DIR"])
    except ValidationError as error:  # a file changed after the supervisor read it; a traceback would show its content
        return start_failures.tell(start_failures.of_settings(error))
    except (OSError, ValueError) as error:
        return start_failures.tell(str(error))
    end = socket.socket(fileno=inlet_fileno)
    config = server.config(app, host=settings.host, port=settings.port)
    return server.run(Server(config, services=app.state.services, end=end), sockets=[])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
