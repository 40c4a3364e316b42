"""The steps and judgements that the statements of all verbs share.

In every fragment `r` is the request, `l` the locked copy of its user and `c.now` the moment of judgement.
"""

from collections.abc import Collection
from uuid import UUID

from domain.errors import LeaseLost, Refusal, UserNotFound
from domain.events.outbox import lock_data
from domain.locks import tokens
from domain.postgres.raw_rows import Row
from domain.snapshots import USER_COLUMNS

LOCKED = """locked AS MATERIALIZED (
    SELECT u.* FROM users u WHERE u.id IN (SELECT user_id FROM req) ORDER BY u.id FOR NO KEY UPDATE
)"""

# It depends on `locked`, so that it cannot be read before the last row lock is held.
CLOCK = """clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now FROM (SELECT count(*) AS rows FROM locked) AS held WHERE rows >= 0
)"""

INVISIBLE = """l.id IS NULL
            OR (r.projects IS NOT NULL AND (l.project_id = ANY (r.projects::uuid[])) IS NOT TRUE)"""
LIVE = "l.lock_expires_at > c.now"
OWN_LEASE = "(l.lease_id = r.lease_id AND l.lock_principal = r.principal)"
LAST_LEASE = "(l.last_lease_id = r.lease_id AND l.last_lease_principal = r.principal)"

# Why a lease that is no longer in force ended, when, and who holds the user instead.
LOSS = f"""
        CASE WHEN {OWN_LEASE} THEN 'expired' WHEN {LAST_LEASE} THEN l.last_lease_reason ELSE 'unknown'
        END AS lost_reason,
        CASE WHEN {OWN_LEASE} THEN l.lock_expires_at WHEN {LAST_LEASE} THEN l.last_lease_ended_at END AS lost_at,
        CASE WHEN {OWN_LEASE} THEN NULL WHEN {LAST_LEASE} THEN l.last_lease_note END AS lost_note,
        CASE WHEN {LIVE} THEN l.lock_owner END AS present_owner"""

# What an UPDATE sets when it ends the lease on the row `o`; `reason` and `ended_at` are added by the verb.
REMEMBER_LEASE = "last_lease_id = o.lease_id, last_lease_principal = o.lock_principal"
FREE = """locktime = NULL, lock_expires_at = NULL, lease_id = NULL, lock_owner = NULL, lock_principal = NULL,
        lock_metadata = NULL"""

INTO_OUTBOX = "INSERT INTO outbox (user_id, lock_version, type, data, occurred_at, lease_id, principal, traceparent)"

GRANT_VERSION = "o.lock_version + CASE WHEN o.lease_id IS NULL THEN 1 ELSE 2 END"

# Give each `winner` (its row `id`, the lease and the moment `now`) the lock, and tell of it. The lease of a lock that
# lapsed ends here, with its own event first, which belongs to nobody's trace. The statement has `tokens.ERA`, and
# there are no winners unless `tokens.ADOPTED`.
GRANTED = f"""granted AS (
    UPDATE users u SET
        locktime = w.now,
        lock_expires_at = w.now + make_interval(secs => w.ttl),
        available_at = w.now + make_interval(secs => w.ttl + w.cooldown),
        lock_owner = w.owner, lock_principal = w.principal, lock_metadata = w.metadata, lease_id = w.lease_id,
        last_lease_id = coalesce(o.lease_id, o.last_lease_id),
        last_lease_principal = coalesce(o.lock_principal, o.last_lease_principal),
        last_lease_ended_at = coalesce(o.lock_expires_at, o.last_lease_ended_at),
        last_lease_reason = CASE WHEN o.lease_id IS NULL THEN o.last_lease_reason ELSE 'expired' END,
        last_lease_note = CASE WHEN o.lease_id IS NULL THEN o.last_lease_note END,
        lock_version = {GRANT_VERSION},
        lock_token = {tokens.token("o", version=GRANT_VERSION)}
    FROM winner w JOIN locked o ON o.id = w.id
    WHERE u.id = w.id
    RETURNING u.*, w.n, w.traceparent
), noted AS (
    {INTO_OUTBOX}
    SELECT id, version, type, data, locktime, lease_id, principal, traceparent FROM (
        SELECT o.id, o.lock_version + 1 AS version, 'botfarm.lock.expired.v1' AS type, g.locktime, o.lease_id,
            o.lock_principal AS principal, {lock_data("o")} AS data, NULL AS traceparent
        FROM granted g JOIN locked o ON o.id = g.id WHERE o.lease_id IS NOT NULL
        UNION ALL
        SELECT g.id, g.lock_version, 'botfarm.lock.acquired.v1', g.locktime, g.lease_id, g.lock_principal,
            {lock_data("g")}, g.traceparent
        FROM granted g
    ) e ORDER BY id, version
)"""


def verdict(*, wins: str) -> str:
    """SQL for the judged requests, with whether each `wins`, by a condition on what was judged.

    It is a column of its own for the planner's sake. Of `column = value` it would expect one row in two hundred, and
    then look through all locked rows once for every winner; of a column that is true or false it expects half.
    """
    return f"verdict AS MATERIALIZED (SELECT *, {wins} AS wins FROM judged)"


def after(changed: str) -> str:
    """SQL for the rows as the statement leaves them: those that `changed` returned, and the others as locked."""
    columns = ", ".join(USER_COLUMNS)
    return f"""after AS (
    SELECT {columns} FROM {changed}
    UNION ALL
    SELECT {columns} FROM locked l WHERE NOT EXISTS (SELECT FROM {changed} g WHERE g.id = l.id)
)"""


def answer(*, verdict: str = "verdict", also: str = "") -> str:
    """SQL for one row a request: its verdict, the reasons of a loss, and the user as it is now.

    `also` names further columns.
    """
    columns = ", ".join(f"a.{name}" for name in USER_COLUMNS)
    return f"""SELECT {also}v.n, v.outcome, v.now, v.lost_reason, v.lost_at, v.lost_note,
       v.present_owner, {columns}
FROM {verdict} v LEFT JOIN after a ON a.id = v.user_id ORDER BY v.n"""


def projects_array(projects: Collection[UUID] | None) -> str | None:
    """The projects a key is limited to as an array literal, for unnest cannot take arrays of arrays."""
    return None if projects is None else "{" + ",".join(map(str, projects)) + "}"


def common_refusal(row: Row, user_id: UUID) -> Refusal:
    """The refusals that every verb knows."""
    if row.outcome == "user-not-found":
        return UserNotFound(user_id)
    if row.outcome == "lease-lost":
        return LeaseLost(
            user_id=user_id,
            reason=row.lost_reason,
            ended_at=row.lost_at,
            owner=row.present_owner,
            note=row.lost_note,
        )
    raise AssertionError(row.outcome)
