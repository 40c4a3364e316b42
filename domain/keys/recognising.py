"""Recognising a key by its digest."""

import hmac
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

USE_NOTED_SECONDS = 60

# A key and the one it replaced are rows of one index each. The time left is computed by the database's clock, as a
# number: no other clock is asked what time it is.
RECOGNISE = text("""
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now), found AS MATERIALIZED (
    SELECT k.*, k.hash AS matched, k.expires_at AS until FROM api_keys k WHERE k.hash = :digest
    UNION ALL
    SELECT k.*, k.previous_hash, least(k.expires_at, k.previous_valid_until) FROM api_keys k
    WHERE k.previous_hash = :digest
)
SELECT f.id, f.name, f.scopes, f.projects, f.locks_most, f.expires_at, f.matched,
    extract(epoch FROM f.until - c.now)::float8 AS seconds_left,
    coalesce(f.last_used_at < c.now - make_interval(secs => :noted), true) AS unnoted
FROM found f CROSS JOIN clock c WHERE f.revoked_at IS NULL AND (f.until IS NULL OR f.until > c.now)
""")

# SKIP LOCKED: whoever counts locks under this row is not kept waiting, and the next use is noted as well.
NOTE_USE = text("""
UPDATE api_keys SET last_used_at = clock_timestamp() WHERE id IN (
    SELECT id FROM api_keys WHERE id = ANY (:ids)
        AND coalesce(last_used_at < clock_timestamp() - make_interval(secs => :noted), true)
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
)
""")


@dataclass(frozen=True, slots=True)
class Recognised:
    """A key in force. `seconds_left` until it is no longer, None for one without end; `unnoted` when its use is."""

    id: UUID
    name: str
    scopes: frozenset[str]
    projects: frozenset[UUID] | None
    locks_most: int | None
    expires_at: datetime | None
    seconds_left: float | None
    unnoted: bool


def recognise(conn: Connection, *, digest: bytes) -> Recognised | None:
    """The key that has this digest, if it is in force by the database's clock."""
    row = conn.execute(RECOGNISE, {"digest": digest, "noted": USE_NOTED_SECONDS}).one_or_none()
    if row is None or not hmac.compare_digest(bytes(row.matched), digest):
        return None
    return Recognised(
        id=row.id,
        name=row.name,
        scopes=frozenset(row.scopes),
        projects=None if row.projects is None else frozenset(row.projects),
        locks_most=row.locks_most,
        expires_at=row.expires_at,
        seconds_left=row.seconds_left,
        unnoted=row.unnoted,
    )


def note_use(conn: Connection, *, ids: Collection[UUID]) -> None:
    """Note that these keys were used just now, at most once a minute each."""
    conn.execute(NOTE_USE, {"ids": sorted(ids), "noted": USE_NOTED_SECONDS})
