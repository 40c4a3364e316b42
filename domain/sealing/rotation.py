"""Re-sealing: what an older key has sealed is sealed again by the first one of the ring, so that the older can go.

Nobody is to notice. Opening and sealing happen before any row is locked; one short statement then exchanges what it
finds unlocked and unchanged, some rows at a time. What somebody holds just then is left to the next pass. Neither
`lock_version` nor `updated_at` moves, and there is no event: a user is what it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Column, Connection, func, literal_column, select, text

from domain.errors import SealBroken
from domain.sealing import KeyRing
from domain.tables import users, webhooks

AT_ONCE = 20  # rows locked by one statement, for about a millisecond
SEALED: Sequence[Column[str]] = (
    users.c.password_sealed,
    webhooks.c.secret_sealed,
    webhooks.c.previous_secret_sealed,
)

# `seen` judges the locked row: what was changed since it was read is left alone.
EXCHANGE = """
WITH seen AS MATERIALIZED (
    SELECT t.id, r.resealed FROM {table} t
    JOIN unnest(CAST(:ids AS uuid[]), CAST(:sealed AS text[]), CAST(:resealed AS text[])) AS r (id, sealed, resealed)
        ON r.id = t.id AND r.sealed = t.{column}
    ORDER BY t.id FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE {table} t SET {column} = s.resealed FROM seen s WHERE t.id = s.id RETURNING t.id
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A row as a pass meets it; `key_id` is None where nothing is sealed, empty where it is unknown."""

    id: UUID
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Resealed:
    """The rows that were exchanged, and those that do not open with any key of the ring."""

    ids: Sequence[UUID] = ()
    unreadable: Sequence[UUID] = ()


def look(conn: Connection, *, column: Column[str], after: UUID | None, limit: int) -> Sequence[Found]:
    """The next rows in the order of their ids, with the id of the key that sealed each. Locks nothing."""
    row_id = column.table.c.id
    # Written out: as a parameter of a prepared statement the number is a bigint, which split_part() does not take.
    second = func.split_part(column, ".", literal_column("2"))
    statement = select(row_id, second).order_by(row_id).limit(limit)
    if after is not None:
        statement = statement.where(row_id > after)
    return [Found(*row) for row in conn.execute(statement)]


def reseal(conn: Connection, *, column: Column[str], ids: Sequence[UUID], ring: KeyRing) -> Resealed:
    """Seal these again where another key than the first has sealed them; a few, and to be committed at once."""
    row_id = column.table.c.id
    rows = conn.execute(select(row_id, column).where(row_id.in_(ids), column.is_not(None))).all()
    changes, unreadable = [], []
    for found_id, sealed in rows:
        try:
            changes.append((found_id, sealed, ring.seal(ring.unseal(sealed, user_id=found_id), user_id=found_id)))
        except SealBroken:
            unreadable.append(found_id)
    if not changes:
        return Resealed((), unreadable)
    # Not even the disk is waited for with rows locked: what a crash undoes, the next pass does again.
    conn.execute(text("SET LOCAL synchronous_commit = off"))
    exchange = text(EXCHANGE.format(table=column.table.name, column=column.name))
    names = ("ids", "sealed", "resealed")
    values = {name: list(of) for name, of in zip(names, zip(*changes, strict=True), strict=True)}
    return Resealed(conn.execute(exchange, values).scalars().all(), unreadable)
