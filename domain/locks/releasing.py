"""Release: give a user back."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Connection

from domain import snapshots
from domain.errors import NotLockHolder, Refusal
from domain.events.outbox import lock_data
from domain.locks import sql_steps
from domain.postgres import raw_rows
from domain.postgres.raw_rows import Row
from domain.snapshots import User


@dataclass(frozen=True, slots=True)
class Release:
    """A request that the user be free.

    With a `lease_id` only that lease is ended: the principal's own, or by force that of `holder`. Without one it is a
    bare release: whatever the principal holds now. The reason `forced` ends anybody's lock, and its `note` says why
    (ValueError without); `unclaimed` undoes a grant whose caller is gone.
    """

    user_id: UUID
    principal: str
    lease_id: UUID | None = None
    reason: Literal["holder", "forced", "unclaimed"] = "holder"
    note: str | None = None
    projects: Collection[UUID] | None = None
    traceparent: str | None = None
    holder: str | None = None

    def __post_init__(self) -> None:
        if self.reason == "forced" and not self.note:
            raise ValueError("a lock is forced out with a note that says why")
        if self.holder is not None and (self.reason != "forced" or self.lease_id is None):
            raise ValueError("only force ends the lease of another holder, and names that lease")


@dataclass(frozen=True, slots=True)
class Released:
    """The user as it is now; `released` is False when there was nothing to end."""

    user: User
    released: bool


# In `req` the principal is whose lease is meant, as the shared judgements read it; `ended_by` is who makes the request.
RELEASE = f"""
WITH req AS MATERIALIZED (
    SELECT * FROM unnest(
        %(user_ids)s::uuid[], %(lease_ids)s::uuid[], %(holders)s::text[], %(principals)s::text[], %(reasons)s::text[],
        %(notes)s::text[], %(projects)s::text[], %(traceparents)s::text[]
    ) WITH ORDINALITY AS r (user_id, lease_id, principal, ended_by, reason, note, projects, traceparent, n)
), {sql_steps.LOCKED}, {sql_steps.CLOCK},
judged AS MATERIALIZED (
    SELECT r.*, c.now, l.id,
        CASE
            WHEN {sql_steps.INVISIBLE} THEN 'user-not-found'
            WHEN r.lease_id IS NOT NULL THEN CASE
                WHEN {sql_steps.OWN_LEASE} AND {sql_steps.LIVE} THEN 'released'
                WHEN {sql_steps.LAST_LEASE} AND l.last_lease_reason = 'released' THEN 'already'
                ELSE 'lease-lost' END
            WHEN NOT coalesce({sql_steps.LIVE}, false) THEN 'already'
            WHEN r.reason = 'forced' OR l.lock_principal = r.principal THEN 'released'
            ELSE 'not-lock-holder'
        END AS decision, {sql_steps.LOSS}
    FROM req r CROSS JOIN clock c LEFT JOIN locked l ON l.id = r.user_id
), {sql_steps.verdict(wins="decision = 'released'")}, winner AS MATERIALIZED (
    SELECT DISTINCT ON (id) * FROM verdict WHERE wins ORDER BY id, n
), freed AS (
    UPDATE users u SET
        {sql_steps.FREE}, {sql_steps.REMEMBER_LEASE},
        last_lease_ended_at = w.now,
        last_lease_reason = CASE w.reason WHEN 'holder' THEN 'released' ELSE w.reason END,
        last_lease_note = w.note,
        available_at = w.now,
        lock_version = o.lock_version + 1
    FROM winner w JOIN locked o ON o.id = w.id
    WHERE u.id = w.id
    RETURNING u.*, w.n, w.now, w.reason, w.note, w.ended_by, w.traceparent
), noted AS (
    {sql_steps.INTO_OUTBOX}
    SELECT o.id, g.lock_version, 'botfarm.lock.released.v1',
        {lock_data("o", reason="g.reason", note="g.note")},
        g.now, o.lease_id, g.ended_by, g.traceparent
    FROM freed g JOIN locked o ON o.id = g.id ORDER BY o.id
), settled AS (
    SELECT v.n, v.now, v.user_id,
        CASE
            WHEN v.decision <> 'released' OR v.n = g.n THEN v.decision
            WHEN v.lease_id IS NULL OR g.reason = 'holder' THEN 'already'
            ELSE 'lease-lost' -- forced out or undone by an earlier request of this batch
        END AS outcome,
        CASE WHEN v.decision = 'released' THEN g.reason ELSE v.lost_reason END AS lost_reason,
        CASE WHEN v.decision = 'released' THEN g.now ELSE v.lost_at END AS lost_at,
        CASE WHEN v.decision = 'released' THEN g.note ELSE v.lost_note END AS lost_note,
        CASE WHEN v.decision <> 'released' THEN v.present_owner END AS present_owner
    FROM verdict v LEFT JOIN freed g ON g.id = v.id
), {sql_steps.after("freed")}
{sql_steps.answer(verdict="settled")}
"""


def release(conn: Connection, requests: Sequence[Release]) -> list[Released | Refusal]:
    """Free each user that may be freed; one outcome a request, in order.

    Nothing is written where nothing changes: the user is free, its lock has lapsed, or the lease was released before.

    Refusals: UserNotFound; LeaseLost for a lease that ended otherwise than by its holder; NotLockHolder for a bare
    release of somebody else's lock.
    """
    rows = raw_rows.rows(conn, RELEASE, _parameters(requests))
    return [_outcome(row, request) for row, request in zip(rows, requests, strict=True)]


def _parameters(requests: Sequence[Release]) -> dict[str, Any]:
    return {
        "user_ids": [str(r.user_id) for r in requests],
        "lease_ids": [None if r.lease_id is None else str(r.lease_id) for r in requests],
        "holders": [r.holder or r.principal for r in requests],
        "principals": [r.principal for r in requests],
        "reasons": [r.reason for r in requests],
        "notes": [r.note for r in requests],
        "projects": [sql_steps.projects_array(r.projects) for r in requests],
        "traceparents": [r.traceparent for r in requests],
    }


def _outcome(row: Row, request: Release) -> Released | Refusal:
    match row.outcome:
        case "released" | "already":
            return Released(snapshots.of_row(row), released=row.outcome == "released")
        case "not-lock-holder":
            return NotLockHolder(request.user_id, row.present_owner)
        case _:
            return sql_steps.common_refusal(row, request.user_id)
