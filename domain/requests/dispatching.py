"""Passes over the line: who gets which users, in order, and who has users kept for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from domain.locks import quotas, reservations
from domain.requests.granting import Gift, Handover, grant

FREE_MOST = 1_000  # more free users than that are not listed once for all, but looked up for each selector
HUNG_SECONDS = 2  # a pass takes milliseconds
LIST_MOST = 200  # candidates a selector; must not be less than the largest count

# Transaction-scoped, so that it works behind a pooler. A statement of its own: the next one has a fresh snapshot.
# A process that hangs in a pass, or whose machine is cut off, must not keep the mutex: the server ends its session.
MUTEX = text(f"""
SET LOCAL idle_in_transaction_session_timeout = '{HUNG_SECONDS}s';
SELECT pg_advisory_xact_lock(hashtext('botfarm.line'))
""")

_CANDIDATE_ROWS = f"""
SELECT w.id, w.request_id, w.principal, w.limited, w.user_id AS single, w.count AS wanted, w.ids,
    t.free, t.waiting, t.next_seconds
FROM totals t LEFT JOIN (
    SELECT q.*, p.ids FROM pools p CROSS JOIN LATERAL (
        SELECT q.id, q.request_id, q.principal, q.limited, q.user_id, q.count, q.priority FROM lock_requests q
        WHERE {reservations.WAITING} AND q.selector = p.selector AND {reservations.ATTENDED}
        ORDER BY q.priority DESC, q.id LIMIT cardinality(p.ids)
    ) q
) w ON true ORDER BY w.priority DESC, w.id
"""
_TOTALS = """(SELECT extract(epoch FROM min(u.available_at) - clock_timestamp()) FROM users u
        WHERE u.status = 'active' AND u.available_at > (SELECT clock_timestamp()))::float8 AS next_seconds,
    EXISTS (SELECT FROM lock_requests q WHERE q.granted_at IS NULL) AS waiting"""

# All free users once, matched with each selector: best where few are free.
NARROW = text(f"""
WITH RECURSIVE {reservations.LINE}, free AS MATERIALIZED (
    SELECT u.id, u.project_id, u.env, u.domain, u.labels, u.available_at FROM users u
    WHERE {reservations.FREE} ORDER BY u.available_at LIMIT {FREE_MOST}
), pools AS MATERIALIZED (
    SELECT h.selector, (array_agg(f.id ORDER BY f.available_at))[1:{LIST_MOST}] AS ids
    FROM heads h JOIN free f ON {reservations.matches("f", "h")} GROUP BY h.selector
), totals AS (SELECT (SELECT count(*) FROM free) AS free, {_TOTALS})
{_CANDIDATE_ROWS}
""")

# For each selector its own first free users: best where many are free that nobody waits for.
WIDE = text(f"""
WITH RECURSIVE {reservations.LINE}, pools AS MATERIALIZED (
    SELECT h.selector, f.ids FROM heads h CROSS JOIN LATERAL (
        SELECT array_agg(c.id) AS ids FROM (
            SELECT u.id FROM users u WHERE {reservations.FREE} AND {reservations.matches("u", "h")}
            ORDER BY u.available_at LIMIT {LIST_MOST}
        ) c
    ) f WHERE f.ids IS NOT NULL
), totals AS (SELECT 0 AS free, {_TOTALS})
{_CANDIDATE_ROWS}
""")
# Whose key has no room for more locks neither blocks nor is granted, until a sweep looks again.
SET_ASIDE = text("""
UPDATE lock_requests SET satisfiable = false WHERE id IN (
    SELECT id FROM lock_requests WHERE id = ANY (:ids) AND granted_at IS NULL ORDER BY id FOR UPDATE SKIP LOCKED
)
""")
BUSY = text("SELECT EXISTS (SELECT FROM lock_requests WHERE granted_at IS NULL)")


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass handed over.

    `again` when it could not look at all there was and should be followed by another; `busy` when anybody waits;
    `next_seconds` until the next user becomes available by itself, None when none will; `wide` when there were too many
    free users to list them once for all.
    """

    handovers: Sequence[Handover]
    again: bool
    busy: bool
    next_seconds: float | None
    wide: bool = False


def busy(conn: Connection) -> bool:
    """Whether anybody waits."""
    return bool(conn.execute(BUSY).scalar_one())


def dispatch(conn: Connection, *, home: UUID | None, wide: bool = False) -> Pass:
    """One pass, in one short transaction; the grants to calls at `home` are confirmed in it.

    The order is made by the mutex and by dealing out in line order, never by SKIP LOCKED. `wide` says that there will
    be too many free users to list them; whether there are is found out otherwise.
    """
    conn.execute(MUTEX)
    rows = conn.execute(WIDE if wide else NARROW).all()
    if not wide and rows[0].free >= FREE_MOST:
        wide, rows = True, conn.execute(WIDE).all()
    candidates, aside = _within_limits(conn, [row for row in rows if row.id is not None])
    gifts, cut = deal(candidates)
    handovers = grant(conn, gifts, home=home)
    missed = len({gift.request for gift in gifts}) > len(handovers)
    coming = rows[0].next_seconds
    return Pass(
        handovers,
        again=bool(aside) or (bool(handovers) and (cut or missed)),
        busy=rows[0].waiting,
        next_seconds=None if coming is None else max(0.0, coming),
        wide=wide,
    )


def _within_limits(conn: Connection, rows: Sequence[Row[Any]]) -> tuple[Sequence[Row[Any]], Sequence[int]]:
    """The requests whose keys have room for what they want, and those that were set aside.

    A key whose locks somebody else counts just now is passed over: the line must not wait for one caller.
    """
    limited = {row.principal for row in rows if row.limited}
    if not limited:
        return rows, []
    room = quotas.measure(conn, limited, skip_locked=True)
    inside = [row for row in rows if not row.limited or room.take(row.principal, row.wanted)]
    kept = {row.id for row in inside}
    aside = [row.id for row in rows if row.id not in kept and row.principal in room.most]
    if aside:
        conn.execute(SET_ASIDE, {"ids": aside})
    return inside, aside


def deal(rows: Sequence[Row[Any]]) -> tuple[list[Gift], bool]:
    """Deal the candidates out in line order; also whether a list was cut before its requests were served.

    Too few for a request: those that there are stay reserved for it, and nobody behind may have them.
    """
    taken: set[UUID] = set()
    gifts: list[Gift] = []
    for row in rows:
        mine = [user_id for user_id in row.ids if user_id not in taken]
        if len(mine) >= row.wanted:
            mine = mine[: row.wanted]
            gifts += [Gift(row.id, row.request_id, user_id, row.single is not None) for user_id in mine]
        elif len(row.ids) >= LIST_MOST:
            return gifts, True
        taken.update(mine)
    return gifts, False
