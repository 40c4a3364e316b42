"""`python -m domain migrate`: bring the database up to date before API and worker start."""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from domain import db, failures, log, safeguards, schema, sealing
from domain.settings import Settings

WAIT_SECONDS = 6.0  # with the start of the program and a last attempt, start-up ends well within 10 s


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m domain", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    migrate = commands.add_parser("migrate", help="apply the migrations that are missing")
    migrate.add_argument("--make-key-file", action="store_true", help="also make BOTFARM_SECRET_KEYS_FILE")
    options = parser.parse_args(arguments)
    try:
        settings = Settings()
        log.configure(level="WARNING", style="console")
        safeguards.require(settings)
        if options.make_key_file:
            _make_key_file(settings)
        _migrate(settings)
    except ValidationError as error:
        return failures.tell(failures.of_settings(error))
    except (OSError, ValueError) as error:
        return failures.tell(str(error))
    except SQLAlchemyError as error:
        return failures.tell(f"cannot migrate {failures.address(settings)}: {failures.of_database(error)}")
    return 0


def _migrate(settings: Settings) -> None:
    probe = db.engine(settings.database_url, patience_seconds=2, name="botfarm-migrate")
    db.retrying(lambda: _ping(probe), seconds=WAIT_SECONDS - 2)
    engine = db.engine(settings.database_url, patience_seconds=None, name="botfarm-migrate")
    schema.upgrade(engine)
    sys.stdout.write(f"database at revision {schema.required()}\n")


def _ping(engine: Engine) -> None:
    with engine.connect() as conn:
        conn.execute(text("SELECT 1"))


def _make_key_file(settings: Settings) -> None:
    if settings.secret_keys_file is None:
        raise ValueError("--make-key-file needs BOTFARM_SECRET_KEYS_FILE")
    path = Path(settings.secret_keys_file)
    if sealing.make_file(path):
        sys.stdout.write(f"made sealing keys {path}\n")


if __name__ == "__main__":
    sys.exit(main())
