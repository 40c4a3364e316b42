"""How Alembic reaches the database: over the connection it is handed, or the one the settings name."""

from alembic import context
from sqlalchemy import Connection, text

from domain.configuration.settings import Settings
from domain.postgres import engines
from domain.tables import metadata

ONE_MIGRATOR = 7_301_960  # any number, the same for all: several replicas may start at once


def run(connection: Connection) -> None:
    """Migrate in one transaction, alone, and without queueing behind a long lock of somebody else's."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=lambda name, kind, _parents: kind != "table" or not str(name).startswith("events_p"),
        compare_type=True,
    )
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_MIGRATOR})
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        context.run_migrations()


if (handed := context.config.attributes.get("connection")) is not None:
    run(handed)
else:
    with engines.engine(Settings().database_url, patience_seconds=None).connect() as opened:
        run(opened)
