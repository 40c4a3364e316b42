"""Tidying the line: grants that nobody fetched, places that nobody came back to, requests that are long over."""

from sqlalchemy import Connection, text

from domain.locks import reservations
from domain.requests import ending
from domain.requests.granting import KEPT_FOR_REPEATS_SECONDS

CONFIRM_SECONDS = 2.0  # a home that has not confirmed a grant for so long is gone
HOME_KEPT_SECONDS = 3_600
AT_ONCE = 200

# The request is in line again where it was: its caller, who lost a process and not the wish, may ask elsewhere.
RECLAIM = text("""
WITH due AS MATERIALIZED (
    SELECT id, principal, users, leases FROM lock_requests
    WHERE granted_at IS NOT NULL AND confirmed_at IS NULL
        AND granted_at < (SELECT clock_timestamp()) - make_interval(secs => :seconds)
    LIMIT :limit FOR UPDATE SKIP LOCKED
), back AS (
    UPDATE lock_requests q SET granted_at = NULL, users = NULL, leases = NULL, keep_until = NULL,
        home = NULL, seen_at = clock_timestamp()
    FROM due WHERE q.id = due.id
)
SELECT principal, users, leases FROM due
""")
# SKIP LOCKED: sweeps and calls that ask again meet on many rows at once, each in an order of its own.
ORPHANS = text(f"""
WITH {reservations.ALIVE}, orphans AS MATERIALIZED (
    SELECT q.id FROM lock_requests q
    WHERE {reservations.WAITING} AND q.home IS NOT NULL AND q.home NOT IN (SELECT id FROM alive) FOR UPDATE SKIP LOCKED
)
UPDATE lock_requests q SET home = NULL, seen_at = clock_timestamp() FROM orphans o WHERE q.id = o.id
""")
STALE = text(f"""
DELETE FROM lock_requests q
WHERE {reservations.WAITING} AND q.home IS NULL
    AND q.seen_at < (SELECT clock_timestamp()) - make_interval(secs => {reservations.KEPT_SECONDS})
""")
SATISFIABLE = text(f"""
WITH wishes AS MATERIALIZED (
    SELECT DISTINCT ON (q.selector, q.count) q.* FROM lock_requests q WHERE {reservations.WAITING}
), judged AS MATERIALIZED (
    SELECT w.selector, w.count, w.count <= (
        SELECT count(*) FROM (
            SELECT FROM users u WHERE u.status = 'active' AND {reservations.matches("u", "w")} LIMIT w.count) m
    ) AS satisfiable FROM wishes w
)
UPDATE lock_requests q SET satisfiable = j.satisfiable FROM judged j
WHERE {reservations.WAITING} AND q.selector = j.selector AND q.count = j.count AND q.satisfiable <> j.satisfiable
""")
OLD = text(f"""
WITH due AS MATERIALIZED (
    SELECT id, users, leases FROM lock_requests
    WHERE granted_at IS NOT NULL AND keep_until < (SELECT clock_timestamp()) LIMIT :limit FOR UPDATE SKIP LOCKED
), ends AS MATERIALIZED (
    SELECT d.id, max(CASE WHEN u.lease_id = m.lease_id THEN u.lock_expires_at
        WHEN u.last_lease_id = m.lease_id THEN u.last_lease_ended_at END)
        + make_interval(secs => {KEPT_FOR_REPEATS_SECONDS}) AS keep_until
    FROM due d CROSS JOIN LATERAL unnest(d.users, d.leases) AS m (user_id, lease_id)
        LEFT JOIN users u ON u.id = m.user_id
    GROUP BY d.id
), kept AS (
    UPDATE lock_requests q SET keep_until = e.keep_until FROM ends e
    WHERE q.id = e.id AND e.keep_until > (SELECT clock_timestamp())
)
DELETE FROM lock_requests q USING ends e
WHERE q.id = e.id AND coalesce(e.keep_until <= (SELECT clock_timestamp()), true)
""")
HOMES = text("DELETE FROM homes WHERE seen_at < (SELECT clock_timestamp()) - make_interval(secs => :seconds)")


def sweep(conn: Connection) -> int:
    """Tidy everything once; how many unfetched grants were taken back. Any number of processes may sweep.

    Grants are taken back at the end: that locks users, and nobody waits for a request's row while holding a user's.
    """
    conn.execute(ORPHANS)
    conn.execute(STALE)
    conn.execute(SATISFIABLE)
    conn.execute(OLD, {"limit": AT_ONCE})
    conn.execute(HOMES, {"seconds": HOME_KEPT_SECONDS})
    reclaimed = conn.execute(RECLAIM, {"seconds": CONFIRM_SECONDS, "limit": AT_ONCE}).all()
    ending.release_leases(conn, reclaimed)
    return len(reclaimed)
