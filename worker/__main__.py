"""`python -m worker`: run the worker. `python -m worker new-epoch`: begin a new epoch, the last step of a restore."""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from domain import log, sealing
from domain.configuration import start_checks, start_failures
from domain.configuration.settings import Settings
from domain.events import epochs
from domain.events.cursors import Cursor
from domain.postgres import engines
from worker.supervision import supervisor


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument(
        "--ready-file", type=Path, help="write url and pids to this file as JSON once the processes run"
    )
    commands = parser.add_subparsers(dest="command")
    new = commands.add_parser("new-epoch", help="raise the epoch by hand after the database was restored from a copy")
    new.add_argument("--above", type=int, default=0, help="the highest epoch ever in use, if known")
    options = parser.parse_args(arguments)
    try:
        settings = _safe_settings()
    except ValueError as error:
        return start_failures.tell(
            start_failures.of_settings(error) if isinstance(error, ValidationError) else str(error)
        )
    return _run(options, settings)


def _run(options: argparse.Namespace, settings: Settings) -> int:
    try:
        if options.command == "new-epoch":
            return _new_epoch(settings, above=options.above)
        return supervisor.run(settings, ready_file=options.ready_file)
    except supervisor.SchemaOutdated:
        where = start_failures.address(settings)
        return start_failures.tell(
            f"the schema of {where} is older than this worker needs: run `python -m domain migrate`"
        )
    except SQLAlchemyError as error:
        return start_failures.tell(
            f"cannot use {start_failures.address(settings)}: {start_failures.of_database(error)}"
        )
    except OSError as error:
        return start_failures.tell(
            f"cannot listen on {settings.worker_host}:{settings.worker_port}: {error.strerror or error}"
        )


def _safe_settings() -> Settings:
    """Raises ValueError. Invalid keys are reported once here, and not by every process that ends because of them."""
    settings = Settings()
    log.configure(level=settings.log_level, style=settings.log_format)
    start_checks.require(settings)
    try:
        sealing.load(text=settings.secret_keys, file=settings.secret_keys_file)
    except OSError as error:
        raise ValueError(str(error)) from None
    return settings


def _new_epoch(settings: Settings, *, above: int) -> int:
    engine = engines.engine(settings.database_url, pool_size=1, name="botfarm-new-epoch")
    supervisor.require_schema(engine)
    with engine.begin() as conn:
        # `adopt` recognises a restored copy by itself, and has then raised the epoch already.
        raised = epochs.adopt(conn)
        epoch = epochs.read(conn).epoch
        if not raised or epoch <= above:
            epochs.start(conn, epoch=max(epoch, above) + 1)
        state = epochs.read(conn)
    begin = Cursor(state.epoch, state.published_seq + 1)
    sys.stdout.write(f"epoch {state.epoch} has begun; its first event will be {begin}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
