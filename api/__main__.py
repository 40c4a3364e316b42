"""`python -m api`: serve HTTP until told to stop."""

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from types import FrameType

import uvicorn
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from api.main import create_app
from domain import db, failures, log, safeguards, schema
from domain.settings import Settings

START_SECONDS = 6.0
STOP_SECONDS = 10
ABORT_SECONDS = 2.0


def main() -> int:
    try:
        settings = Settings()
        log.configure(level=settings.log_level, style=settings.log_format, stream=log.Scribe(sys.stderr))
        _refuse_unsafe(settings)
        _refuse_old_schema(settings)
        app = create_app(settings)
    except ValidationError as error:
        return failures.tell(failures.of_settings(error))
    except (OSError, ValueError) as error:
        return failures.tell(str(error))
    except SQLAlchemyError as error:
        return failures.tell(f"cannot use {failures.address(settings)}: {failures.of_database(error)}")
    # uvicorn raises the signal again when it has stopped: then this ends the process as a success.
    signal.signal(signal.SIGTERM, _end)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks where a caller comes from
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = _Server(config, stopping=app.state.services.stopping)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 1


class _Server(uvicorn.Server):
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


def _refuse_unsafe(settings: Settings) -> None:
    if settings.auth == "keys":
        return
    if settings.auth is None and not settings.loopback:
        raise ValueError(f"{settings.host} can be reached by others: set BOTFARM_AUTH, or bind to 127.0.0.1")
    safeguards.require(settings)
    log.get(__name__).warning("authentication_off", host=settings.host)


def _refuse_old_schema(settings: Settings) -> None:
    engine = db.engine(settings.database_url, pool_size=1, patience_seconds=2, name="botfarm-api")

    def current() -> bool:
        with engine.connect() as conn:
            return schema.is_current(conn)

    if not db.retrying(current, seconds=START_SECONDS - 2):
        raise ValueError("the database's schema is older than this program: run python -m domain migrate")
    engine.dispose()


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
