"""Looking at the line: who waits since when for what, how many users match, and who holds them until when."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from domain.errors import RequestNotFound
from domain.locks import reservations

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
WITH {reservations.ALIVE}
SELECT q.*, q.count AS wanted,
    extract(epoch FROM coalesce(q.granted_at, clock_timestamp()) - q.created_at)::float8 AS waited_seconds,
    CASE WHEN q.granted_at IS NOT NULL THEN 'granted' WHEN {reservations.ATTENDED} THEN 'waiting'
        ELSE 'detached' END AS state,
    CASE WHEN q.granted_at IS NULL THEN 1 + (
        SELECT count(*) FROM lock_requests o
        WHERE o.granted_at IS NULL AND o.selector = q.selector AND o.satisfiable
            AND o.home IN (SELECT id FROM alive) AND (o.priority, -o.id) > (q.priority, -q.id)
    ) END AS position
FROM lock_requests q
"""
# What a caller may see of the line: its own requests, and unless it sees no others, those for users of its projects.
VISIBLE = """(q.principal = :principal OR (NOT :own_only AND (
        CAST(:projects AS uuid[]) IS NULL OR q.project_id = ANY (:projects) OR q.projects <@ CAST(:projects AS uuid[])
        OR EXISTS (SELECT FROM users v WHERE v.id = q.user_id AND v.project_id = ANY (:projects)))))"""
FIND = text(f"""{_QUEUED}
WHERE q.granted_at IS NULL AND {VISIBLE}
ORDER BY q.priority DESC, q.id LIMIT :limit
""")
EXPLAIN = text(f"""{_QUEUED}
WHERE q.request_id = :request_id AND {VISIBLE} ORDER BY q.principal = :principal DESC, q.id LIMIT 1
""")
MATCHING = text(f"""
SELECT count(*) FROM users u JOIN lock_requests q ON q.id = :id
WHERE u.status = 'active' AND {reservations.matches("u", "q")}
    AND (CAST(:projects AS uuid[]) IS NULL OR u.project_id = ANY (:projects))
""")
HOLDERS = text(f"""
SELECT u.id AS user_id, u.login, u.lock_owner AS owner, u.lock_expires_at AS expires_at
FROM users u JOIN lock_requests q ON q.id = :id
WHERE u.locktime IS NOT NULL AND u.lock_expires_at > (SELECT clock_timestamp()) AND u.status = 'active'
    AND {reservations.matches("u", "q")} AND (CAST(:projects AS uuid[]) IS NULL OR u.project_id = ANY (:projects))
ORDER BY u.lock_expires_at LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: at its own requests, and unless `own_only` at others' for users of its projects; None is all."""

    principal: str
    own_only: bool = False
    projects: Collection[UUID] | None = None

    def parameters(self) -> dict[str, Any]:
        projects = None if self.projects is None else list(self.projects)
        return {"principal": self.principal, "own_only": self.own_only, "projects": projects}


def find(conn: Connection, *, viewer: Viewer, limit: int = 100) -> list[Queued]:
    """The requests in line that the viewer may see, the next one first."""
    return [_queued(row) for row in conn.execute(FIND, viewer.parameters() | {"limit": limit})]


def explain(conn: Connection, *, request_id: UUID, viewer: Viewer) -> Queued:
    """One request with how many users match it and who holds them, those that end first first.

    Of several principals' requests with that id it is the viewer's own. Raises RequestNotFound.
    """
    seen = viewer.parameters()
    row = conn.execute(EXPLAIN, seen | {"request_id": request_id}).one_or_none()
    if row is None:
        raise RequestNotFound(request_id)
    within = {"id": row.id, "projects": seen["projects"]}
    matching = conn.execute(MATCHING, within).scalar_one()
    holders = conn.execute(HOLDERS, within | {"limit": HOLDERS_MOST})
    return _queued(row, matching=matching, holders=[Holder(*holder) for holder in holders])


def _queued(row: Row[Any], *, matching: int | None = None, holders: Sequence[Holder] = ()) -> Queued:
    names = [field.name for field in fields(Queued) if field.name not in {"matching", "holders"}]
    return Queued(**{name: getattr(row, name) for name in names}, matching=matching, holders=holders)
