"""The outbox: every change leaves a row here in its own transaction, and the relay numbers them for the world.

Numbers are given afterwards, under the lock of the one `relay_state` row, because neither a sequence nor a
transaction id follows the order of commits. The outbox id is nevertheless monotone within a user: the row is
written by the statement that already holds the user's row lock.
"""

from sqlalchemy import Connection, text

from domain.events import epochs
from domain.events.epochs import State


def utc(expression: str) -> str:
    """SQL for a timestamp as JSON text, in UTC with microseconds whatever the session's time zone is."""
    return f"""to_char({expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def lock_data(lock: str, *, reason: str = "NULL", note: str = "NULL") -> str:
    """SQL for the `data` of a lock event; `lock` is an alias of `users` with the lease in question on its row."""
    return f"""jsonb_build_object(
        'user_id', {lock}.id, 'login', {lock}.login, 'project_id', {lock}.project_id, 'env', {lock}.env,
        'domain', {lock}.domain, 'owner', {lock}.lock_owner, 'metadata', coalesce({lock}.lock_metadata, '{{}}'::jsonb),
        'token', {lock}.lock_token, 'locktime', {utc(f"{lock}.locktime")},
        'expires_at', {utc(f"{lock}.lock_expires_at")}, 'reason', {reason}, 'note', {note})"""


def user_data(user: str) -> str:
    """SQL for the `data` of a user event; `user` is an alias of `users`."""
    return f"""jsonb_build_object(
        'user_id', {user}.id, 'login', {user}.login, 'project_id', {user}.project_id, 'env', {user}.env,
        'domain', {user}.domain, 'labels', {user}.labels, 'status', {user}.status,
        'status_reason', {user}.status_reason)"""


PENDING = text("SELECT EXISTS (SELECT FROM outbox)")

# An outbox is mostly empty, and so the planner knows it: joined with the batch it would be read again for every row of
# the batch (40 ms for 500, not 2). Looked up by an array, it cannot be.
SEQUENCE = text("""
WITH batch AS MATERIALIZED (
    SELECT * FROM outbox ORDER BY id LIMIT :limit
), gone AS (
    DELETE FROM outbox WHERE id = ANY (ARRAY(SELECT id FROM batch))
), moved AS (
    INSERT INTO events (seq, epoch, event_id, user_id, lock_version, type, data, occurred_at, traceparent,
                        lease_id, principal)
    SELECT :last_seq + row_number() OVER (ORDER BY id), :epoch, event_id, user_id, lock_version, type, data,
           occurred_at, traceparent, lease_id, principal
    FROM batch
    RETURNING seq
)
UPDATE relay_state SET last_seq = :last_seq + (SELECT count(*) FROM moved)
RETURNING last_seq
""")

BACKLOG = text("""
SELECT count(*) AS pending, extract(epoch FROM clock_timestamp() - min(occurred_at))::float8 AS oldest_seconds
FROM (SELECT occurred_at FROM outbox ORDER BY id LIMIT :most) o
""")


def pending(conn: Connection) -> bool:
    """Whether any change waits for its number: a cheap look that takes no lock."""
    return bool(conn.execute(PENDING).scalar_one())


def sequence(conn: Connection, *, limit: int = 500, locked: State | None = None) -> int:
    """Move up to `limit` changes into `events` with the next numbers, in one transaction; how many were moved.

    The row lock is a statement of its own: in READ COMMITTED the move then has a snapshot taken after the lock,
    and sees everything that the previous holder of the lock committed. `locked` is the state of a caller that has
    locked the row in this transaction already.
    """
    state = locked or epochs.lock(conn)
    last_seq = conn.execute(SEQUENCE, {"limit": limit, "last_seq": state.last_seq, "epoch": state.epoch}).scalar_one()
    return int(last_seq) - state.last_seq


def backlog(conn: Connection, *, most: int = 100_000) -> tuple[int, float | None]:
    """How many changes wait, counted up to `most`, and the age in seconds of the oldest."""
    row = conn.execute(BACKLOG, {"most": most}).one()
    return row.pending, row.oldest_seconds
