"""How the farm is used: totals per project, env and domain."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

TOTALS = text("""
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now), counted AS (
    SELECT u.project_id, u.env, u.domain, count(*) AS users,
        count(*) FILTER (WHERE u.lock_expires_at > c.now) AS locked,
        count(*) FILTER (WHERE u.status = 'active' AND u.available_at <= c.now) AS free,
        count(*) FILTER (WHERE u.status = 'quarantined') AS quarantined,
        count(*) FILTER (WHERE u.status = 'active' AND u.available_at > c.now
            AND (u.lock_expires_at > c.now) IS NOT TRUE) AS cooling
    FROM users u CROSS JOIN clock c GROUP BY u.project_id, u.env, u.domain
), waiting AS (
    SELECT q.project_id, q.env, q.domain, count(*) AS waiting
    FROM lock_requests q WHERE q.granted_at IS NULL AND q.user_id IS NULL GROUP BY q.project_id, q.env, q.domain
)
SELECT coalesce(t.project_id, w.project_id) AS project_id, coalesce(t.env, w.env) AS env,
    coalesce(t.domain, w.domain) AS domain, coalesce(users, 0) AS users, coalesce(free, 0) AS free,
    coalesce(locked, 0) AS locked, coalesce(quarantined, 0) AS quarantined, coalesce(cooling, 0) AS cooling,
    coalesce(waiting, 0) AS waiting
FROM counted t FULL JOIN waiting w
    ON coalesce(t.project_id::text, '') = coalesce(w.project_id::text, '') AND t.env = w.env AND t.domain = w.domain
WHERE CAST(:projects AS uuid[]) IS NULL OR coalesce(t.project_id, w.project_id) = ANY (:projects)
ORDER BY 1 NULLS FIRST, 2 NULLS FIRST, 3 NULLS FIRST
""")


@dataclass(frozen=True, slots=True)
class Total:
    """Users of one project, env and domain; `waiting` counts requests in line that name exactly these.

    A quarantined user may still be locked; `cooling` rests after a lock that expired.
    """

    project_id: UUID | None
    env: str | None
    domain: str | None
    users: int
    free: int
    locked: int
    quarantined: int
    cooling: int
    waiting: int


def totals(conn: Connection, *, projects: Collection[UUID] | None = None) -> list[Total]:
    """One total for each project, env and domain there are users in or requests for."""
    parameter = None if projects is None else list(projects)
    return [Total(*row) for row in conn.execute(TOTALS, {"projects": parameter})]
