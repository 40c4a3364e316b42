"""Renew: set a new expiry for a lease that is in force."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from domain import snapshots
from domain.errors import LifetimeExceeded, Refusal
from domain.events.outbox import lock_data
from domain.locks import sql_steps
from domain.postgres import raw_rows
from domain.postgres.raw_rows import Row
from domain.snapshots import User


@dataclass(frozen=True, slots=True)
class Renew:
    """A request that the lease end `ttl` from now: the expiry is set, never added to.

    No renewal may keep a lease alive longer than `lifetime_max` after its grant; None sets no bound.
    """

    user_id: UUID
    lease_id: UUID
    principal: str
    ttl: timedelta
    cooldown: timedelta = timedelta(0)
    lifetime_max: timedelta | None = None
    projects: Collection[UUID] | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Renewal:
    """The lease is in force until `user.lock.expires_at`."""

    user: User
    lease_id: UUID


RENEW = f"""
WITH req AS MATERIALIZED (
    SELECT * FROM unnest(
        %(user_ids)s::uuid[], %(lease_ids)s::uuid[], %(principals)s::text[], %(ttls)s::float8[],
        %(cooldowns)s::float8[], %(lifetimes)s::float8[], %(projects)s::text[], %(traceparents)s::text[]
    ) WITH ORDINALITY AS r (user_id, lease_id, principal, ttl, cooldown, lifetime_max, projects, traceparent, n)
), {sql_steps.LOCKED}, {sql_steps.CLOCK},
judged AS MATERIALIZED (
    SELECT r.*, c.now, l.id,
        CASE
            WHEN {sql_steps.INVISIBLE} THEN 'user-not-found'
            WHEN NOT coalesce({sql_steps.OWN_LEASE} AND {sql_steps.LIVE}, false) THEN 'lease-lost'
            WHEN c.now + make_interval(secs => r.ttl) > l.locktime + make_interval(secs => r.lifetime_max)
                THEN 'lifetime-exceeded'
            ELSE 'renewed'
        END AS outcome, {sql_steps.LOSS}
    FROM req r CROSS JOIN clock c LEFT JOIN locked l ON l.id = r.user_id
), {sql_steps.verdict(wins="outcome = 'renewed'")}, winner AS MATERIALIZED (
    SELECT DISTINCT ON (id) * FROM verdict WHERE wins ORDER BY id, n DESC
), renewed AS (
    UPDATE users u SET
        lock_expires_at = w.now + make_interval(secs => w.ttl),
        available_at = w.now + make_interval(secs => w.ttl + w.cooldown),
        lock_version = o.lock_version + 1
    FROM winner w JOIN locked o ON o.id = w.id
    WHERE u.id = w.id
    RETURNING u.*, w.now, w.traceparent
), noted AS (
    {sql_steps.INTO_OUTBOX}
    SELECT g.id, g.lock_version, 'botfarm.lock.renewed.v1', {lock_data("g")}, g.now, g.lease_id, g.lock_principal,
        g.traceparent
    FROM renewed g ORDER BY g.id
), {sql_steps.after("renewed")}
{sql_steps.answer()}
"""


def renew(conn: Connection, requests: Sequence[Renew]) -> list[Renewal | Refusal]:
    """Set the expiry of each lease that is in force; one outcome a request, in order.

    Of several renewals of one lease in a batch the last one counts, and all are answered with the expiry it set.

    Refusals: UserNotFound; LeaseLost with when and why; LifetimeExceeded.
    """
    rows = raw_rows.rows(conn, RENEW, _parameters(requests))
    return [_outcome(row, request) for row, request in zip(rows, requests, strict=True)]


def _parameters(requests: Sequence[Renew]) -> dict[str, Any]:
    return {
        "user_ids": [str(r.user_id) for r in requests],
        "lease_ids": [str(r.lease_id) for r in requests],
        "principals": [r.principal for r in requests],
        "ttls": [r.ttl.total_seconds() for r in requests],
        "cooldowns": [r.cooldown.total_seconds() for r in requests],
        "lifetimes": [None if r.lifetime_max is None else r.lifetime_max.total_seconds() for r in requests],
        "projects": [sql_steps.projects_array(r.projects) for r in requests],
        "traceparents": [r.traceparent for r in requests],
    }


def _outcome(row: Row, request: Renew) -> Renewal | Refusal:
    if row.outcome == "renewed":
        return Renewal(snapshots.of_row(row), request.lease_id)
    if row.outcome == "lifetime-exceeded":
        assert request.lifetime_max is not None, "the statement found a bound to exceed"
        return LifetimeExceeded(request.user_id, row.lock_expires_at, request.lifetime_max.total_seconds())
    return sql_steps.common_refusal(row, request.user_id)
