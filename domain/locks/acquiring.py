"""Acquire: grant a lock on one particular user."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from domain import snapshots
from domain.errors import CoolingDown, LineAhead, LockHeld, Refusal, UserQuarantined
from domain.locks import reservations, sql_steps, tokens
from domain.postgres.raw_rows import Row
from domain.snapshots import User


@dataclass(frozen=True, slots=True)
class Acquire:
    """A request for the lock of one user.

    `lease_id` is always fixed by the caller: asking again with it is recognised, whatever became of the first try.
    The lock lasts `ttl`; should it lapse unreleased, the user rests for `cooldown`. `projects` are those the
    principal is limited to; None is all. The event of the grant carries `traceparent` (W3C Trace Context).
    One that is `limited` is for `quotas.acquire`, which counts the principal's locks first.
    """

    user_id: UUID
    lease_id: UUID
    principal: str
    owner: str
    ttl: timedelta
    metadata: Mapping[str, str] = field(default_factory=dict)
    cooldown: timedelta = timedelta(0)
    projects: Collection[UUID] | None = None
    traceparent: str | None = None
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """The lock was granted, or had been granted to this very lease before (`again`)."""

    user: User
    lease_id: UUID
    password_sealed: str | None
    again: bool


ACQUIRE = f"""
WITH RECURSIVE req AS MATERIALIZED (
    SELECT * FROM unnest(
        %(user_ids)s::uuid[], %(lease_ids)s::uuid[], %(principals)s::text[], %(owners)s::text[],
        %(metadata)s::jsonb[], %(ttls)s::float8[], %(cooldowns)s::float8[], %(projects)s::text[],
        %(traceparents)s::text[]
    ) WITH ORDINALITY AS r (user_id, lease_id, principal, owner, metadata, ttl, cooldown, projects, traceparent, n)
), {tokens.ERA}, {sql_steps.LOCKED}, {sql_steps.CLOCK}, {reservations.LINE},
judged AS MATERIALIZED (
    SELECT r.*, c.now, l.id,
        CASE
            WHEN {sql_steps.INVISIBLE} THEN 'user-not-found'
            WHEN {sql_steps.OWN_LEASE} AND {sql_steps.LIVE} THEN 'again'
            WHEN {sql_steps.OWN_LEASE} OR {sql_steps.LAST_LEASE} THEN 'lease-lost'
            WHEN {sql_steps.LIVE} THEN 'lock-held'
            WHEN l.status <> 'active' THEN 'user-quarantined'
            WHEN l.available_at > c.now THEN 'cooling-down'
            WHEN {reservations.kept("l")} THEN 'line-ahead'
            ELSE 'granted'
        END AS decision, {sql_steps.LOSS}
    FROM req r CROSS JOIN clock c LEFT JOIN locked l ON l.id = r.user_id
), {sql_steps.verdict(wins="decision = 'granted'")}, winner AS MATERIALIZED (
    SELECT DISTINCT ON (id) * FROM verdict WHERE wins AND {tokens.ADOPTED} ORDER BY id, n
), {sql_steps.GRANTED}, settled AS (
    SELECT v.*, CASE
        WHEN v.decision <> 'granted' OR v.n = g.n THEN v.decision
        WHEN g.lease_id = v.lease_id AND g.lock_principal = v.principal THEN 'again'
        ELSE 'lock-held' END AS outcome
    FROM verdict v LEFT JOIN granted g ON g.id = v.id
), {sql_steps.after("granted")}
{sql_steps.answer(verdict="settled", also=f"{tokens.ADOPTED} AS adopted, ")}
"""


def acquire(conn: Connection, requests: Sequence[Acquire]) -> list[Grant | Refusal]:
    """Grant each lock that may be granted; one outcome a request, in order.

    Of several requests for one user the first that may have it wins. A lock that lapsed is taken over, with
    `expired` for the old lease and `acquired` for the new one.

    Refusals: UserNotFound; LeaseLost when this lease was granted before and is over; LockHeld; UserQuarantined;
    CoolingDown; LineAhead when the user is free but somebody waits in line for it.
    """
    rows = tokens.rows(conn, ACQUIRE, _parameters(requests))
    return [_outcome(row, request) for row, request in zip(rows, requests, strict=True)]


def _parameters(requests: Sequence[Acquire]) -> dict[str, Any]:
    return {
        "user_ids": [str(r.user_id) for r in requests],
        "lease_ids": [str(r.lease_id) for r in requests],
        "principals": [r.principal for r in requests],
        "owners": [r.owner for r in requests],
        "metadata": [json.dumps(dict(r.metadata)) if r.metadata else "{}" for r in requests],
        "ttls": [r.ttl.total_seconds() for r in requests],
        "cooldowns": [r.cooldown.total_seconds() for r in requests],
        "projects": [sql_steps.projects_array(r.projects) for r in requests],
        "traceparents": [r.traceparent for r in requests],
    }


def _outcome(row: Row, request: Acquire) -> Grant | Refusal:
    match row.outcome:
        case "granted" | "again":
            user = snapshots.of_row(row)
            return Grant(user, request.lease_id, row.password_sealed, again=row.outcome == "again")
        case "lock-held":
            return LockHeld(
                request.user_id, row.lock_owner, row.lock_expires_at, _seconds(row.now, row.lock_expires_at)
            )
        case "user-quarantined":
            return UserQuarantined(request.user_id, row.status_reason)
        case "cooling-down":
            return CoolingDown(request.user_id, row.available_at, _seconds(row.now, row.available_at))
        case "line-ahead":
            return LineAhead(request.user_id)
        case _:
            return sql_steps.common_refusal(row, request.user_id)


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()
