"""Heartbeats: when each part of the worker last worked, by the database's clock."""

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from domain.tables import heartbeats


def beat(conn: Connection, *, part: str) -> None:
    now = func.clock_timestamp()
    statement = insert(heartbeats).values(part=part, seen_at=now)
    conn.execute(statement.on_conflict_do_update(index_elements=["part"], set_={"seen_at": now}))


def ages(conn: Connection) -> dict[str, float]:
    """Seconds since the last heartbeat of each part."""
    age = func.extract("epoch", func.clock_timestamp() - heartbeats.c.seen_at).label("age")
    return {row.part: float(row.age) for row in conn.execute(select(heartbeats.c.part, age))}
