"""`python -m api`: serve HTTP until told to stop."""

import contextlib
import signal
import sys
from types import FrameType

import uvicorn
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from api.main import create_app
from domain import db, log, schema
from domain.settings import Settings

START_SECONDS = 8.0
STOP_SECONDS = 10


def main() -> int:
    try:
        settings = Settings()
        log.configure(level=settings.log_level, style=settings.log_format)
        _refuse_unsafe(settings)
        _refuse_old_schema(settings)
        app = create_app(settings)
    except ValidationError as error:
        return _fail("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    except (OSError, ValueError) as error:
        return _fail(str(error))
    except SQLAlchemyError as error:
        return _fail(f"cannot use the database: {str(getattr(error, 'orig', error)).strip().splitlines()[0]}")
    # uvicorn raises the signal again when it has stopped: then this ends the process as a success.
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    return 0


def _refuse_unsafe(settings: Settings) -> None:
    if settings.auth == "keys":
        raise ValueError("BOTFARM_AUTH=keys is not available yet: set BOTFARM_AUTH=off")
    if settings.auth is None and not settings.loopback:
        raise ValueError(f"{settings.host} can be reached by others: set BOTFARM_AUTH, or bind to 127.0.0.1")
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


def _fail(message: str) -> int:
    sys.stderr.write(f"botfarm: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
