"""What is asked for, how it is recognised when it is asked again, and what it was given."""

import hashlib
import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from domain import snapshots
from domain.errors import LeaseLost, Refusal, RequestEnded, RequestIdReused
from domain.locks import Grant
from domain.snapshots import USER_COLUMNS

Key = tuple[str, UUID]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for `count` users that match all that is given, or for the one with `user_id`.

    For one particular user the request id is the lease id itself. The events of the grant carry the `traceparent` of
    the call that made the request, however much later they come. `limited` says that the principal may hold so many
    locks only: they are counted before anything is granted.
    """

    request_id: UUID
    principal: str
    owner: str
    ttl: timedelta
    count: int = 1
    user_id: UUID | None = None
    project_id: UUID | None = None
    env: str | None = None
    domain: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    cooldown: timedelta = timedelta(0)
    priority: int = 0
    projects: Collection[UUID] | None = None
    traceparent: str | None = None
    limited: bool = False

    @property
    def key(self) -> Key:
        return self.principal, self.request_id

    @property
    def selector(self) -> UUID:
        """The same for all requests that ask for the same users."""
        return _digest(self._wish())

    @property
    def fingerprint(self) -> UUID:
        """The same for all calls that may repeat each other; how long they wait does not matter."""
        return _digest([self._wish(), self.count, self.owner, self.ttl.total_seconds(), dict(self.metadata)])

    def lease_for(self, user_id: UUID) -> UUID:
        return lease_id(self.request_id, user_id=user_id, single=self.user_id is not None)

    def _wish(self) -> list[Any]:
        projects = None if self.projects is None else sorted(map(str, self.projects))
        return [*map(_text, (self.user_id, self.project_id, self.env, self.domain)), dict(self.labels), projects]


@dataclass(frozen=True, slots=True)
class Granted:
    """What the request has: the users whose leases live, and those it had and lost."""

    request_id: UUID
    grants: Sequence[Grant]
    lost: Sequence[LeaseLost] = ()
    again: bool = False

    @property
    def granted_at(self) -> datetime | None:
        """When these leases were granted; None when none of them lives."""
        locks = [grant.user.lock for grant in self.grants if grant.user.lock is not None]
        return locks[0].acquired_at if locks else None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the line."""

    id: int
    request_id: UUID


@dataclass(frozen=True, slots=True)
class Opened:
    """A request's row: new, or the one that was there; `claimed` when it was asked about after it was granted.

    `home` is the process that has or had its call; None when nobody asks just now.
    """

    id: int
    is_new: bool
    granted: bool
    claimed: bool
    fingerprint: UUID
    home: UUID | None


OPEN = text("""
WITH asks AS MATERIALIZED (
    SELECT nextval('lock_requests_place') AS id, a.* FROM (
        SELECT r.*, r.ord FROM ROWS FROM (jsonb_to_recordset(CAST(:asks AS jsonb)) AS (
            request_id uuid, principal text, fingerprint uuid, selector uuid, priority int, user_id uuid,
            project_id uuid, env text, domain text, labels jsonb, projects uuid[], count int, owner text,
            metadata jsonb, ttl float8, cooldown float8, traceparent text, limited boolean
        )) WITH ORDINALITY AS r (
            request_id, principal, fingerprint, selector, priority, user_id, project_id, env, domain, labels,
            projects, count, owner, metadata, ttl, cooldown, traceparent, limited, ord
        ) ORDER BY ord
    ) a
), clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
INSERT INTO lock_requests (id, request_id, principal, fingerprint, selector, priority, user_id, project_id, env,
    domain, labels, projects, count, owner, metadata, ttl, cooldown, traceparent, limited, created_at, seen_at, home)
SELECT a.id, request_id, principal, fingerprint, selector, priority, user_id, project_id, env, domain, labels,
    projects, count, owner, metadata, ttl, cooldown, traceparent, limited, c.now, c.now, CAST(:home AS uuid)
FROM asks a CROSS JOIN clock c ORDER BY principal, request_id
ON CONFLICT (principal, request_id) DO NOTHING
RETURNING id, principal, request_id
""")

FIND = text("""
SELECT q.id, q.principal, q.request_id, q.fingerprint, q.home, q.granted_at IS NOT NULL AS granted,
    coalesce(q.seen_at > q.granted_at, false) AS claimed
FROM lock_requests q JOIN unnest(CAST(:principals AS text[]), CAST(:request_ids AS uuid[])) AS k (principal, request_id)
    ON q.principal = k.principal AND q.request_id = k.request_id
ORDER BY q.principal, q.request_id FOR UPDATE OF q
""")

CLAIM = text("""
UPDATE lock_requests SET seen_at = clock_timestamp(), confirmed_at = coalesce(confirmed_at, clock_timestamp())
WHERE id = ANY (:ids) AND granted_at IS NOT NULL
""")

_COLUMNS = ", ".join(f"u.{name}" for name in USER_COLUMNS)
# A user that has gone to a project outside those of the request is as good as gone.
MEMBERS = text(f"""
SELECT q.id AS request, q.request_id, m.user_id AS wanted, m.lease_id, {_COLUMNS}, c.now,
    u.lease_id = m.lease_id AND u.lock_expires_at > c.now AS live,
    CASE WHEN u.lease_id = m.lease_id THEN 'expired' WHEN u.last_lease_id = m.lease_id THEN u.last_lease_reason
        ELSE 'unknown' END AS lost_reason,
    CASE WHEN u.lease_id = m.lease_id THEN u.lock_expires_at
        WHEN u.last_lease_id = m.lease_id THEN u.last_lease_ended_at END AS lost_at,
    CASE WHEN u.last_lease_id = m.lease_id THEN u.last_lease_note END AS lost_note,
    CASE WHEN u.lock_expires_at > c.now THEN u.lock_owner END AS present_owner
FROM lock_requests q CROSS JOIN (SELECT clock_timestamp() AS now) c
    CROSS JOIN LATERAL unnest(q.users, q.leases) WITH ORDINALITY AS m (user_id, lease_id, n)
    LEFT JOIN users u ON u.id = m.user_id AND (q.projects IS NULL OR u.project_id = ANY (q.projects))
WHERE q.id = ANY (:ids) ORDER BY q.id, m.n
""")


def open_all(conn: Connection, asks: Sequence[Ask], *, home: UUID | None) -> dict[Key, Opened]:
    """The row of each request, made unless it is there. Waits for a first try that is still under way.

    The rows are made in the order of their keys, so that two batches cannot wait for each other.
    """
    unique = {ask.key: ask for ask in asks}
    rows = conn.execute(OPEN, {"asks": json.dumps([_record(ask) for ask in unique.values()]), "home": home})
    opened = {
        (row.principal, row.request_id): Opened(
            row.id,
            is_new=True,
            granted=False,
            claimed=False,
            fingerprint=unique[row.principal, row.request_id].fingerprint,
            home=home,
        )
        for row in rows
    }
    opened |= look_up(conn, unique.keys() - opened.keys())
    ended = [ask for key, ask in unique.items() if key not in opened]  # taken out between the two statements
    return opened | open_all(conn, ended, home=home) if ended else opened


def look_up(conn: Connection, keys: Iterable[Key]) -> dict[Key, Opened]:
    """The rows that there are for these keys, locked: what is read of them stays true in this transaction."""
    wanted = list(keys)
    if not wanted:
        return {}
    rows = conn.execute(
        FIND, {"principals": [principal for principal, _ in wanted], "request_ids": [str(key) for _, key in wanted]}
    )
    return {
        (row.principal, row.request_id): Opened(
            row.id,
            is_new=False,
            granted=row.granted,
            claimed=row.claimed,
            fingerprint=row.fingerprint,
            home=row.home,
        )
        for row in rows
    }


def repeated(conn: Connection, ids: Collection[int]) -> dict[int, Granted | RequestEnded]:
    """What each granted request still has: its live leases with those it lost, or that all have ended."""
    members: dict[int, list[Row[Any]]] = {}
    for row in conn.execute(MEMBERS, {"ids": list(ids)}) if ids else ():
        members.setdefault(row.request, []).append(row)
    return {request: _granted(rows) for request, rows in members.items()}


def claim(conn: Connection, ids: Collection[int]) -> None:
    """Note that these granted requests were asked about: their grants are no longer unclaimed."""
    if ids:
        conn.execute(CLAIM, {"ids": list(ids)})


def reused(ask: Ask, opened: Opened) -> Refusal | None:
    return RequestIdReused(ask.request_id) if ask.fingerprint != opened.fingerprint else None


def lease_id(request_id: UUID, *, user_id: UUID, single: bool) -> UUID:
    """The lease of one user of a request; it follows from both, so that a repeat needs no memory (RFC 9562, v5)."""
    return request_id if single else uuid.uuid5(request_id, str(user_id))


def _granted(rows: Sequence[Row[Any]]) -> Granted | RequestEnded:
    grants = [Grant(snapshots.of_row(row), row.lease_id, row.password_sealed, again=True) for row in rows if row.live]
    lost = [
        LeaseLost(row.wanted, row.lost_reason, row.lost_at, row.present_owner, row.lost_note)
        for row in rows
        if not row.live
    ]
    request_id = rows[0].request_id
    return Granted(request_id, grants, lost, again=True) if grants else RequestEnded(request_id)


def wish(ask: Ask) -> dict[str, Any]:
    """Which users are asked for, as JSON that the statements read."""
    return {
        "selector": str(ask.selector),
        "user_id": _text(ask.user_id),
        "project_id": _text(ask.project_id),
        "env": ask.env,
        "domain": ask.domain,
        "labels": dict(ask.labels),
        "projects": None if ask.projects is None else [str(project) for project in ask.projects],
    }


def _record(ask: Ask) -> dict[str, Any]:
    return wish(ask) | {
        "request_id": str(ask.request_id),
        "principal": ask.principal,
        "fingerprint": str(ask.fingerprint),
        "priority": ask.priority,
        "count": ask.count,
        "owner": ask.owner,
        "metadata": dict(ask.metadata),
        "ttl": ask.ttl.total_seconds(),
        "cooldown": ask.cooldown.total_seconds(),
        "traceparent": ask.traceparent,
        "limited": ask.limited,
    }


def _digest(value: object) -> UUID:
    return UUID(bytes=hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).digest())


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def forget(conn: Connection, ids: Sequence[int]) -> None:
    if ids:
        conn.execute(text("DELETE FROM lock_requests WHERE id = ANY (:ids)"), {"ids": ids})


def is_nothing(outcome: Granted | Refusal, row: Opened) -> bool:
    return row.is_new and isinstance(outcome, Refusal)
