"""Giving users to requests: all that a request needs, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from domain import snapshots
from domain.locks import Grant, reservations, sql_steps, tokens
from domain.postgres.raw_rows import Row
from domain.requests.records import Granted, Key, lease_id
from domain.snapshots import USER_COLUMNS

KEPT_FOR_REPEATS_SECONDS = 86_400  # after its last lease a request may be repeated for so long


@dataclass(frozen=True, slots=True)
class Gift:
    """One user that a request is to have."""

    request: int
    request_id: UUID
    user_id: UUID
    single: bool

    @property
    def lease_id(self) -> UUID:
        return lease_id(self.request_id, user_id=self.user_id, single=self.single)


@dataclass(frozen=True, slots=True)
class Handover:
    """A request that was granted, and the process whose call gets the answer."""

    key: Key
    home: UUID | None
    granted: Granted


# SKIP LOCKED: who grants never waits for a row, so it cannot be part of a deadlock; what it misses it tries again.
GRANT = f"""
WITH gifts AS MATERIALIZED (
    SELECT * FROM unnest(%(requests)s::bigint[], %(users)s::uuid[], %(leases)s::uuid[])
        WITH ORDINALITY AS g (request, user_id, lease_id, n)
), {tokens.ERA}, asked AS MATERIALIZED (
    SELECT q.* FROM lock_requests q
    WHERE q.id IN (SELECT request FROM gifts) AND {reservations.WAITING} AND (q.home IS NULL) = %(direct)s
    FOR UPDATE SKIP LOCKED
), locked AS MATERIALIZED (
    SELECT u.* FROM users u WHERE u.id IN (SELECT user_id FROM gifts) ORDER BY u.id FOR NO KEY UPDATE SKIP LOCKED
), clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now FROM (SELECT count(*) AS rows FROM locked) AS held WHERE rows >= 0
), served AS MATERIALIZED (
    SELECT g.request FROM gifts g JOIN asked a ON a.id = g.request CROSS JOIN clock c
        LEFT JOIN locked l ON l.id = g.user_id AND l.status = 'active' AND l.available_at <= c.now
            AND {reservations.matches("l", "a")}
    WHERE {tokens.ADOPTED}
    GROUP BY g.request HAVING count(l.id) = count(*)
), winner AS MATERIALIZED (
    SELECT g.n, g.request, g.user_id AS id, g.lease_id, a.owner, a.principal, a.metadata, a.ttl, a.cooldown,
        a.traceparent, c.now
    FROM gifts g JOIN served s ON s.request = g.request JOIN asked a ON a.id = g.request CROSS JOIN clock c
), {sql_steps.GRANTED}, closed AS (
    UPDATE lock_requests q SET granted_at = w.now, users = w.users, leases = w.leases,
        confirmed_at = CASE WHEN q.home IS NOT DISTINCT FROM CAST(%(home)s AS uuid) THEN w.now END,
        keep_until = w.now + make_interval(secs => q.ttl + {KEPT_FOR_REPEATS_SECONDS})
    FROM (
        SELECT request, now, array_agg(id ORDER BY n) AS users, array_agg(lease_id ORDER BY n) AS leases
        FROM winner GROUP BY request, now
    ) w WHERE q.id = w.request
    RETURNING q.id, q.principal, q.request_id, q.home
)
SELECT e.adopted, c.id AS request, c.principal, c.request_id, c.home, w.now, g.lease_id,
    {", ".join(f"g.{name}" for name in USER_COLUMNS)}
FROM era e LEFT JOIN (granted g JOIN winner w ON w.n = g.n JOIN closed c ON c.id = w.request) ON true ORDER BY w.n
"""


def grant(conn: Connection, gifts: Sequence[Gift], *, home: UUID | None, direct: bool = False) -> list[Handover]:
    """Give each request its users if all are still free and match; those that were served.

    A grant to a request of `home` counts as confirmed: its caller is here and will be answered. `direct` serves
    requests whose call does not wait in line.
    """
    if not gifts:
        return []
    parameters = {
        "requests": [gift.request for gift in gifts],
        "users": [str(gift.user_id) for gift in gifts],
        "leases": [str(gift.lease_id) for gift in gifts],
        "home": None if home is None else str(home),
        "direct": direct,
    }
    served: dict[int, list[Row]] = {}
    for row in tokens.rows(conn, GRANT, parameters):
        if row.request is not None:
            served.setdefault(row.request, []).append(row)
    return [_handover(rows) for rows in served.values()]


def _handover(rows: Sequence[Row]) -> Handover:
    first = rows[0]
    grants = [Grant(snapshots.of_row(row), row.lease_id, row.password_sealed, again=False) for row in rows]
    return Handover((first.principal, first.request_id), first.home, Granted(first.request_id, grants))
