"""`python -m api`: serve HTTP until SIGTERM or SIGINT."""

import sys

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from api.execution.pool_sizes import PoolSizes
from api.serving import supervisor
from domain import log, sealing
from domain.configuration import start_checks, start_failures
from domain.configuration.settings import Settings
from domain.postgres import engines, schema_version, sessions

START_SECONDS = 6.0


def main() -> int:
    """Report every fault of the settings here, once, before anything is made of them."""
    try:
        settings = Settings()
        log.configure(level=settings.log_level, style=settings.log_format, stream=log.Scribe(sys.stderr))
        _refuse_unsafe(settings)
        _refuse_unusable(settings)
        _look_at_the_database(settings)
        return _alone(settings) if settings.api_workers == 1 else supervisor.run(settings)
    except ValidationError as error:
        return start_failures.tell(start_failures.of_settings(error))
    except (OSError, ValueError) as error:
        return start_failures.tell(str(error))
    except SQLAlchemyError as error:
        return start_failures.tell(
            f"cannot use {start_failures.address(settings)}: {start_failures.of_database(error)}"
        )


def _alone(settings: Settings) -> int:
    # Not at the top: a parent needs none of what serving needs, and would take half a second and 40 MB for it.
    from api import main  # noqa: PLC0415
    from api.serving import server  # noqa: PLC0415

    app = main.create_app(settings)
    config = server.config(app, host=settings.host, port=settings.port)
    return server.run(server.Server(config, stopping=app.state.services.stopping))


def _refuse_unsafe(settings: Settings) -> None:
    if settings.auth == "keys":
        return
    if settings.auth is None and not settings.loopback:
        raise ValueError(f"{settings.host} can be reached by others: set BOTFARM_AUTH, or bind to 127.0.0.1")
    start_checks.require(settings)
    log.get(__name__).warning("authentication_off", host=settings.host)


def _refuse_unusable(settings: Settings) -> None:
    sealing.load(text=settings.secret_keys, file=settings.secret_keys_file)
    if settings.rate_limit:
        from api.middleware.rates import rate_of  # noqa: PLC0415  -- as above

        rate_of(settings.rate_limit)


def _look_at_the_database(settings: Settings) -> None:
    """Refuse a schema that is too old, and warn when the server has too few connections for all that may be opened."""
    engine = engines.engine(settings.database_url, pool_size=1, patience_seconds=2, name="botfarm-api")

    def look() -> tuple[bool, int]:
        with engine.connect() as conn:
            return schema_version.is_current(conn), sessions.most(conn)

    current, most = engines.retrying(look, seconds=START_SECONDS - 2)
    if not current:
        raise ValueError("the database's schema is older than this program: run python -m domain migrate")
    engine.dispose()
    each = PoolSizes.of(settings).total
    if settings.api_workers * each > most:
        log.get(__name__).warning(
            "too_few_database_connections",
            processes=settings.api_workers,
            connections_each=each,
            wanted=settings.api_workers * each,
            server_has=most,
        )


if __name__ == "__main__":
    sys.exit(main())
