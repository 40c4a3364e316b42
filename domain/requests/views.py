"""Looking at the line: who waits since when for what, how many users match, and who holds them until when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from domain import lines
from domain.errors import RequestNotFound

HOLDERS_MOST = 20


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a user that the request could take, and until when."""

    user_id: UUID
    login: str
    owner: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Queued:
    """A request; `position` is None once it is granted. `matching` counts active users, whatever their locks."""

    request_id: UUID
    principal: str
    owner: str
    state: str
    position: int | None
    priority: int
    user_id: UUID | None
    project_id: UUID | None
    env: str | None
    domain: str | None
    labels: Mapping[str, str]
    wanted: int
    created_at: datetime
    waited_seconds: float
    matching: int | None = None
    holders: Sequence[Holder] = ()


_QUEUED = f"""
WITH {lines.ALIVE}
SELECT q.*, q.count AS wanted,
    extract(epoch FROM coalesce(q.granted_at, clock_timestamp()) - q.created_at)::float8 AS waited_seconds,
    CASE WHEN q.granted_at IS NOT NULL THEN 'granted' WHEN {lines.ATTENDED} THEN 'waiting' ELSE 'detached' END AS state,
    CASE WHEN q.granted_at IS NULL THEN 1 + (
        SELECT count(*) FROM lock_requests o
        WHERE o.granted_at IS NULL AND o.selector = q.selector AND o.satisfiable
            AND o.home IN (SELECT id FROM alive) AND (o.priority, -o.id) > (q.priority, -q.id)
    ) END AS position
FROM lock_requests q
"""
FIND = text(f"""{_QUEUED}
WHERE q.granted_at IS NULL AND (CAST(:principal AS text) IS NULL OR q.principal = :principal)
ORDER BY q.priority DESC, q.id LIMIT :limit
""")
EXPLAIN = text(f"""{_QUEUED}
WHERE q.request_id = :request_id AND (CAST(:principal AS text) IS NULL OR q.principal = :principal) LIMIT 1
""")
MATCHING = text(f"""
SELECT count(*) FROM users u JOIN lock_requests q ON q.id = :id
WHERE u.status = 'active' AND {lines.matches("u", "q")}
""")
HOLDERS = text(f"""
SELECT u.id AS user_id, u.login, u.lock_owner AS owner, u.lock_expires_at AS expires_at
FROM users u JOIN lock_requests q ON q.id = :id
WHERE u.locktime IS NOT NULL AND u.lock_expires_at > (SELECT clock_timestamp()) AND u.status = 'active'
    AND {lines.matches("u", "q")}
ORDER BY u.lock_expires_at LIMIT :limit
""")


def find(conn: Connection, *, principal: str | None, limit: int = 100) -> list[Queued]:
    """The requests in line, the next one first: of one principal, or of all."""
    return [_queued(row) for row in conn.execute(FIND, {"principal": principal, "limit": limit})]


def explain(conn: Connection, *, request_id: UUID, principal: str | None) -> Queued:
    """One request with how many users match it and who holds them, those that end first first.

    Raises RequestNotFound.
    """
    row = conn.execute(EXPLAIN, {"request_id": request_id, "principal": principal}).one_or_none()
    if row is None:
        raise RequestNotFound(request_id)
    matching = conn.execute(MATCHING, {"id": row.id}).scalar_one()
    holders = conn.execute(HOLDERS, {"id": row.id, "limit": HOLDERS_MOST})
    return _queued(row, matching=matching, holders=[Holder(*holder) for holder in holders])


def _queued(row: Row[Any], *, matching: int | None = None, holders: Sequence[Holder] = ()) -> Queued:
    names = [field.name for field in fields(Queued) if field.name not in {"matching", "holders"}]
    return Queued(**{name: getattr(row, name) for name in names}, matching=matching, holders=holders)
