"""Ending requests: cancelling one, and undoing a grant that nobody claimed.

Rows are locked in one order: requests in line, keys, users in the order of their ids; nobody waits for a request's row
while holding a user's. Whoever holds a request's row waits for no user that the request does not hold: its leases that
are over are dropped by a plain SELECT before any user is locked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from domain import locks
from domain.errors import NotLockHolder, Refusal, RequestEnded, RequestNotFound, UserNotFound
from domain.locks import Release, Released
from domain.requests import records
from domain.requests.explaining import VISIBLE, Viewer
from domain.requests.records import Key


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The request that has ended, and the users that were released with it: none when it only waited."""

    key: Key
    released: Sequence[Released] = ()


@dataclass(frozen=True, slots=True)
class Undo:
    """Nobody claimed what the request was granted: its leases are released and the request is forgotten.

    `unless_claimed` spares a grant that was asked about since: then it has found its caller after all. `granted_at`
    names the grant: a request that was forgotten and granted again has the same lease ids, and an undo that comes late
    must not end that grant. Without it the request is undone whatever its state, a place in line included.
    """

    key: Key
    unless_claimed: bool = False
    granted_at: datetime | None = None


# A granted request is also found by the users it was granted; which of them are visible is judged once it is locked.
SEEN = text(f"""
SELECT q.id, q.principal, q.request_id, q.owner, q.granted_at IS NOT NULL AS granted
FROM lock_requests q
WHERE q.request_id = :request_id AND ({VISIBLE} OR (NOT :own_only AND q.granted_at IS NOT NULL AND EXISTS (
    SELECT FROM users v WHERE v.id = ANY (q.users) AND v.project_id = ANY (CAST(:projects AS uuid[])))))
ORDER BY q.principal = :principal DESC, q.id LIMIT 1 FOR UPDATE OF q
""")
MEMBERS = text("""
SELECT m.user_id, m.lease_id, coalesce(u.lease_id = m.lease_id AND u.lock_principal = q.principal
    AND u.lock_expires_at > (SELECT clock_timestamp()), false) AS live
FROM lock_requests q CROSS JOIN LATERAL unnest(q.users, q.leases) WITH ORDINALITY AS m (user_id, lease_id, n)
    LEFT JOIN users u ON u.id = m.user_id
WHERE q.id = :id
    AND (CAST(:projects AS uuid[]) IS NULL OR u.project_id = ANY (CAST(:projects AS uuid[]))) ORDER BY m.n
""")
REMOVE = text("""
DELETE FROM lock_requests q
USING unnest(CAST(:principals AS text[]), CAST(:request_ids AS uuid[]), CAST(:spare_claimed AS boolean[]),
    CAST(:granted AS timestamptz[])) AS k (principal, request_id, spare_claimed, granted_at)
WHERE q.principal = k.principal AND q.request_id = k.request_id
    AND NOT (k.spare_claimed AND coalesce(q.seen_at > q.granted_at, false))
    AND (k.granted_at IS NULL OR coalesce(q.granted_at = k.granted_at, false))
RETURNING q.principal, q.request_id, q.granted_at IS NOT NULL AS granted, q.users, q.leases
""")


def cancel(
    conn: Connection,
    *,
    request_id: UUID,
    viewer: Viewer,
    force_reason: str | None = None,
    traceparent: str | None = None,
) -> Cancelled:
    """End the request: the place of one that waits is gone; what was granted is released, and its row stays.

    Judged on the request's locked row, so one that is granted at this moment counts as granted. The leases of a granted
    request end as by a release of its own principal, or by force with a reason; only for users that are in the
    viewer's projects on their locked rows.

    Raises RequestNotFound, also when the viewer sees none of another's users; RequestEnded when no lease is left that
    could be ended; NotLockHolder for another's granted request without `force_reason`.
    """
    row = conn.execute(SEEN, viewer.parameters() | {"request_id": request_id}).one_or_none()
    if row is None:
        raise RequestNotFound(request_id)
    key = row.principal, row.request_id
    if not row.granted:
        records.forget(conn, [row.id])
        return Cancelled(key)
    own = row.principal == viewer.principal
    leases = _living(conn, row, viewer=viewer, own=own)
    if not own and force_reason is None:
        raise NotLockHolder(leases[0].user_id, row.owner, request_id)
    ends = [
        _release(lease, viewer, holder=row.principal, force_reason=force_reason, traceparent=traceparent)
        for lease in leases
    ]
    outcomes = locks.release(conn, ends)
    released = [outcome for outcome in outcomes if isinstance(outcome, Released) and outcome.released]
    if not released:
        raise _too_late(outcomes, request_id=request_id, own=own)
    records.claim(conn, [row.id])  # or it would be undone, or put back in line, as a grant that nobody fetched
    return Cancelled(key, released)


def _release(
    lease: Row[Any], viewer: Viewer, *, holder: str, force_reason: str | None, traceparent: str | None
) -> Release:
    """How the viewer ends this lease: as its holder, or by force with a reason."""
    forced = force_reason is not None
    return Release(
        user_id=lease.user_id,
        principal=viewer.principal,
        lease_id=lease.lease_id,
        reason="forced" if forced else "holder",
        note=force_reason,
        projects=viewer.projects,
        traceparent=traceparent,
        holder=holder if forced else None,
    )


def undo(conn: Connection, undos: Sequence[Undo]) -> list[bool | Refusal]:
    """Forget each request; what it was granted is released, reason `unclaimed`. Whether it was granted.

    It is the service that ends these leases, in the name of the request's principal and for want of a caller, so it
    does so in whatever project a user is by now.

    Refusals: RequestNotFound, also for a grant that was claimed or is another than the one to be undone.
    """
    unique = sorted({each.key: each for each in undos}.values(), key=lambda each: each.key)
    records.look_up(conn, [each.key for each in unique])  # the rows are locked in one order, whoever undoes
    rows = conn.execute(REMOVE, _parameters(unique)).all()
    release_leases(conn, [row for row in rows if row.granted])
    removed = {(row.principal, row.request_id): bool(row.granted) for row in rows}
    return [removed.get(each.key, RequestNotFound(each.key[1])) for each in undos]


def release_leases(conn: Connection, rows: Sequence[Row[Any]]) -> None:
    """Release all leases of these granted requests that still live, as unclaimed, in their principals' names."""
    leases = [
        (row.principal, user_id, lease_id)
        for row in rows
        for user_id, lease_id in zip(row.users, row.leases, strict=True)
    ]
    releases = [
        Release(user_id, principal, lease_id, reason="unclaimed")
        for principal, user_id, lease_id in locks.living(conn, leases)
    ]
    if releases:
        locks.release(conn, releases)


def _living(conn: Connection, row: Row[Any], *, viewer: Viewer, own: bool) -> list[Row[Any]]:
    """The leases of a granted request that live and whose users the viewer sees; at least one."""
    members = conn.execute(MEMBERS, viewer.parameters() | {"id": row.id}).all()
    if not members and not own:
        raise RequestNotFound(row.request_id)
    living = [member for member in members if member.live]
    if not living:
        raise RequestEnded(row.request_id)
    return living


def _too_late(outcomes: Sequence[Released | Refusal], *, request_id: UUID, own: bool) -> Refusal:
    """Why nothing was released: between the SELECT and the row locks all leases ended, or all users moved away."""
    moved = all(isinstance(outcome, UserNotFound) for outcome in outcomes)
    return RequestNotFound(request_id) if moved and not own else RequestEnded(request_id)


def _parameters(undos: Sequence[Undo]) -> dict[str, Any]:
    return {
        "principals": [each.key[0] for each in undos],
        "request_ids": [str(each.key[1]) for each in undos],
        "spare_claimed": [each.unless_claimed for each in undos],
        "granted": [None if each.granted_at is None else each.granted_at.isoformat() for each in undos],
    }
