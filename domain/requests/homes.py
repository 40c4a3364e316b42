"""Homes: the API processes that have the calls of requests, and what each does for its own."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from domain.requests import records
from domain.requests.granting import Handover
from domain.requests.records import Granted, Key

CONFIRM = text("""
UPDATE lock_requests q SET confirmed_at = clock_timestamp()
WHERE q.home = :home AND q.granted_at IS NOT NULL AND q.confirmed_at IS NULL
RETURNING q.id, q.principal, q.request_id
""")
COME_BACK = text("""
WITH detached AS MATERIALIZED (
    SELECT q.id FROM lock_requests q
        JOIN unnest(CAST(:principals AS text[]), CAST(:request_ids AS uuid[])) AS k (principal, request_id)
        ON q.principal = k.principal AND q.request_id = k.request_id
    WHERE q.granted_at IS NULL AND q.home IS NULL FOR UPDATE OF q SKIP LOCKED
)
UPDATE lock_requests q SET home = :home, seen_at = clock_timestamp() FROM detached d WHERE q.id = d.id
RETURNING q.principal, q.request_id
""")
STEP_AWAY = text("""
UPDATE lock_requests q SET home = NULL, seen_at = clock_timestamp()
FROM unnest(CAST(:principals AS text[]), CAST(:request_ids AS uuid[])) AS k (principal, request_id)
WHERE q.principal = k.principal AND q.request_id = k.request_id AND q.granted_at IS NULL AND q.home = :home
""")
LEFT_THE_LINE = text("""
SELECT k.principal, k.request_id
FROM unnest(CAST(:principals AS text[]), CAST(:request_ids AS uuid[])) AS k (principal, request_id)
    LEFT JOIN lock_requests q ON q.principal = k.principal AND q.request_id = k.request_id
WHERE q.id IS NULL OR q.confirmed_at IS NOT NULL
""")
BEAT = text("""
INSERT INTO homes (id, seen_at) VALUES (:home, clock_timestamp())
ON CONFLICT (id) DO UPDATE SET seen_at = EXCLUDED.seen_at
""")
LEAVE = text("""
WITH gone AS (DELETE FROM homes WHERE id = :home)
UPDATE lock_requests SET home = NULL, seen_at = clock_timestamp() WHERE home = :home AND granted_at IS NULL
""")


def confirm(conn: Connection, *, home: UUID) -> list[Handover]:
    """Take for the callers at `home` what passes of other processes have granted them."""
    rows = conn.execute(CONFIRM, {"home": home}).all()
    given = records.repeated(conn, [row.id for row in rows])
    return [
        Handover((row.principal, row.request_id), home, granted)
        for row in rows
        if isinstance(granted := given[row.id], Granted)
    ]


def beat(conn: Connection, *, home: UUID) -> None:
    """One sign of life for all calls that wait at this process: a heartbeat a request would be in the line's way."""
    conn.execute(BEAT, {"home": home})


def come_back(conn: Connection, keys: Sequence[Key], *, home: UUID) -> list[Key]:
    """Calls for these requests are open at `home`; those that were detached all the same and are attended again."""
    rows = conn.execute(COME_BACK, {**as_arrays(keys), "home": home}) if keys else ()
    return [(row.principal, row.request_id) for row in rows]


def settled(conn: Connection, keys: Sequence[Key]) -> list[Key]:
    """Those requests that are in line no more: cancelled, or granted and confirmed by whoever else asked for them."""
    return [(row.principal, row.request_id) for row in conn.execute(LEFT_THE_LINE, as_arrays(keys))]


def step_away(conn: Connection, keys: Sequence[Key], *, home: UUID) -> None:
    """No calls for these requests are open at `home` any more; their places are kept for a while."""
    if keys:
        conn.execute(STEP_AWAY, {**as_arrays(keys), "home": home})


def leave(conn: Connection, *, home: UUID) -> None:
    """The process ends; the places of its calls are kept for a while."""
    conn.execute(LEAVE, {"home": home})


def as_arrays(keys: Sequence[Key]) -> dict[str, list[Any]]:
    return {"principals": [principal for principal, _ in keys], "request_ids": [str(key) for _, key in keys]}
