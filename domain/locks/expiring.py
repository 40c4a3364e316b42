"""Expire: tidy away the locks that lapsed and that nobody has taken over."""

from uuid import UUID

from sqlalchemy import Connection, text

from domain.events.outbox import lock_data
from domain.locks import sql_steps

EXPIRE = text(f"""
WITH locked AS MATERIALIZED (
    SELECT u.* FROM users u
    WHERE u.locktime IS NOT NULL AND u.lock_expires_at <= (SELECT clock_timestamp())
        AND (CAST(:user_id AS uuid) IS NULL OR u.id = :user_id)
    ORDER BY u.lock_expires_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
), {sql_steps.CLOCK},
lapsed AS MATERIALIZED (
    SELECT l.*, c.now FROM locked l CROSS JOIN clock c WHERE NOT {sql_steps.LIVE}
), freed AS (
    UPDATE users u SET
        {sql_steps.FREE}, {sql_steps.REMEMBER_LEASE},
        last_lease_ended_at = o.lock_expires_at,
        last_lease_reason = 'expired',
        last_lease_note = NULL,
        lock_version = o.lock_version + 1
    FROM lapsed o WHERE u.id = o.id
    RETURNING u.id, u.lock_version
), noted AS (
    {sql_steps.INTO_OUTBOX}
    SELECT o.id, g.lock_version, 'botfarm.lock.expired.v1', {lock_data("o")}, o.now, o.lease_id, o.lock_principal,
        NULL
    FROM freed g JOIN lapsed o ON o.id = g.id ORDER BY o.id
)
SELECT count(*) FROM freed
""")

LAPSED = text("""
SELECT count(*) AS lapsed, extract(epoch FROM clock_timestamp() - min(lock_expires_at))::float8 AS oldest_seconds
FROM (SELECT lock_expires_at FROM users
      WHERE locktime IS NOT NULL AND lock_expires_at <= (SELECT clock_timestamp())
      ORDER BY lock_expires_at LIMIT :most) u
""")


def expire(conn: Connection, *, limit: int = 500, user_id: UUID | None = None) -> int:
    """End up to `limit` lapsed locks, or that of one user, each with its `expired` event; how many were ended.

    Rows that somebody else is working on are left for the next sweep, so any number of sweepers may run.
    """
    return int(conn.execute(EXPIRE, {"limit": limit, "user_id": user_id}).scalar_one())


def lapsed(conn: Connection, *, most: int = 10_000) -> tuple[int, float | None]:
    """How many lapsed locks wait to be tidied, counted up to `most`, and the age in seconds of the oldest."""
    row = conn.execute(LAPSED, {"most": most}).one()
    return row.lapsed, row.oldest_seconds
