"""The schema's version: bringing it up to date, and refusing to run on an older one."""

import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parents[1] / "migrations"


def upgrade(engine: Engine) -> None:
    """Apply every migration that is missing. Several callers at once are safe: one works, the others wait."""
    config = _config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


@functools.cache
def revisions() -> tuple[str, ...]:
    """The revisions this code knows, newest first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def required() -> str:
    """The newest revision this code knows."""
    return revisions()[0]


def current(conn: Connection) -> str | None:
    """The revision the database is at; None for an empty database."""
    return MigrationContext.configure(conn).get_current_revision()


def is_current(conn: Connection) -> bool:
    """Whether the database has all this code needs. A newer schema will do: migrations are additive."""
    revision = current(conn)
    return revision is not None and (revision == required() or revision not in revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
