"""What goes on at the database besides this farm's own statements."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

# Who holds a snapshot keeps vacuum from removing what has died since, which slows everything down after a while; who
# only stays in a transaction keeps old partitions from being dropped. Copies over the network hold snapshots too.
OLDEST = text("""
SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
FROM pg_stat_activity
WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()
    AND (datname = current_database() AND backend_type = 'client backend' OR backend_type = 'walsender')
ORDER BY xact_start LIMIT 1
""")

# Postgres 16 keeps some more, for roles that have been granted them.
MOST = text("""
SELECT current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0)
""")


@dataclass(frozen=True, slots=True)
class Transaction:
    pid: int
    application: str
    seconds: float


def oldest_transaction(conn: Connection) -> Transaction | None:
    """The transaction of somebody else that has been open for longest."""
    row = conn.execute(OLDEST).one_or_none()
    return None if row is None else Transaction(row.pid, row.application_name, row.seconds)


def most(conn: Connection) -> int:
    """How many connections the server gives to everybody together."""
    return int(conn.execute(MOST).scalar_one())
