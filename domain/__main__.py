"""`python -m domain`: `migrate` readies the database for API and worker, `create-key` makes the first API key."""

import argparse
import sys
from datetime import datetime
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from domain import keys, log, sealing
from domain.configuration import start_checks, start_failures
from domain.configuration.settings import Settings
from domain.errors import KeyNameTaken
from domain.postgres import engines, schema_version

NAME_MOST = 100
WAIT_SECONDS = 6.0  # with the start of the program and a last attempt, start-up ends well within 10 s


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m domain", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    migrate = commands.add_parser("migrate", help="apply the migrations that are missing")
    migrate.add_argument("--make-key-file", action="store_true", help="also make BOTFARM_SECRET_KEYS_FILE")
    _declare_create_key(commands)
    options = parser.parse_args(arguments)
    try:
        settings = Settings()
        log.configure(level="WARNING", style="console")
        start_checks.require(settings)
        _carry_out(options, settings)
    except ValidationError as error:
        return start_failures.tell(start_failures.of_settings(error))
    except (OSError, ValueError) as error:
        return start_failures.tell(str(error))
    except SQLAlchemyError as error:
        return start_failures.tell(
            f"cannot {options.command} {start_failures.address(settings)}: {start_failures.of_database(error)}"
        )
    return 0


def _declare_create_key(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    create = commands.add_parser("create-key", help="make an API key and print it, this once")
    create.add_argument("name", help="the principal: who holds the locks taken with it")
    create.add_argument("--scope", action="append", required=True, choices=keys.SCOPES, help="may be given repeatedly")
    create.add_argument("--project", action="append", type=UUID, help="the only projects it sees; all without")
    create.add_argument("--locks-most", type=_positive, help="how many locks it may hold at once")
    create.add_argument("--expires", type=_moment, help="RFC 3339, as in 2027-01-01T00:00:00Z; never without")


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _carry_out(options: argparse.Namespace, settings: Settings) -> None:
    if options.command == "create-key":
        _create_key(options, settings)
        return
    if options.make_key_file:
        _make_key_file(settings)
    _migrate(settings)


def _create_key(options: argparse.Namespace, settings: Settings) -> None:
    new = keys.NewKey(
        name=options.name,
        scopes=options.scope,
        projects=options.project,
        locks_most=options.locks_most,
        expires_at=options.expires,
    )
    if not new.name.isprintable() or not 1 <= len(new.name) <= NAME_MOST:
        raise ValueError(f"a name has 1 to {NAME_MOST} printable characters")
    with engines.engine(settings.database_url, name="botfarm-keys").begin() as conn:
        try:
            _, key = keys.create(conn, new=new, created_by="command line")
        except KeyNameTaken:
            raise ValueError(f"a key named {new.name} is in force: revoke it first, or rotate it") from None
    sys.stdout.write(f"{key}\n")


def _migrate(settings: Settings) -> None:
    probe = engines.engine(settings.database_url, patience_seconds=2, name="botfarm-migrate")
    engines.retrying(lambda: _ping(probe), seconds=WAIT_SECONDS - 2)
    engine = engines.engine(settings.database_url, patience_seconds=None, name="botfarm-migrate")
    schema_version.upgrade(engine)
    sys.stdout.write(f"database at revision {schema_version.required()}\n")


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
