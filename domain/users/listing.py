"""Finding and listing users."""

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, and_, func, not_, select, text

from domain import snapshots
from domain.errors import CursorMalformed, UserNotFound
from domain.snapshots import USER_COLUMNS, User
from domain.tables import users

CURSOR_PREFIX = b"login:"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which users to list: every part that is given must hold. `projects` are those the caller is limited to."""

    project_id: UUID | Literal["none"] | None = None
    env: str | None = None
    domain: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    locked: bool | None = None
    status: str | None = None
    login: str | None = None
    login_prefix: str | None = None
    owner: str | None = None
    projects: Collection[UUID] | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Users in the order of their logins; `next_cursor` is None on the last page."""

    users: Sequence[User]
    next_cursor: str | None


def get(conn: Connection, *, user_id: UUID, projects: Collection[UUID] | None = None) -> User:
    """Raises UserNotFound, also for a user outside `projects`."""
    statement = _pictures().where(users.c.id == user_id, *_within(projects))
    row = conn.execute(statement).one_or_none()
    if row is None:
        raise UserNotFound(user_id)
    return snapshots.of_row(row)


def find(conn: Connection, *, by: Filter, limit: int = 100, after: str | None = None) -> Page:
    """One page of at most `limit` users. Raises CursorMalformed for an `after` that no page has given out."""
    statement = _pictures().where(*_conditions(by)).order_by(users.c.login).limit(limit + 1)
    if after is not None:
        statement = statement.where(users.c.login > _decode_cursor(after))
    found = [snapshots.of_row(row) for row in conn.execute(statement)]
    more = len(found) > limit
    return Page(found[:limit], _encode_cursor(found[limit - 1].login) if more else None)


def _pictures() -> Select[Any]:
    return select(*(users.c[name] for name in USER_COLUMNS), _now().label("now"))


def _conditions(by: Filter) -> list[ColumnElement[bool]]:
    conditions = _within(by.projects)
    equal = {"env": by.env, "domain": by.domain, "status": by.status, "login": by.login}
    conditions += [users.c[name] == value for name, value in equal.items() if value is not None]
    if by.project_id is not None:
        project_id = None if by.project_id == "none" else by.project_id
        conditions.append(users.c.project_id.is_not_distinct_from(project_id))
    if by.labels:
        conditions.append(users.c.labels.contains(dict(by.labels)))
    if by.locked is not None:
        conditions.append(_live() if by.locked else not_(_live()))
    if by.login_prefix is not None:
        conditions.append(users.c.login.startswith(by.login_prefix, autoescape=True))
    if by.owner is not None:
        conditions.append(and_(_live(), users.c.lock_owner == by.owner))
    return conditions


def _within(projects: Collection[UUID] | None) -> list[ColumnElement[bool]]:
    return [] if projects is None else [users.c.project_id.in_(projects)]


def _live() -> ColumnElement[bool]:
    return func.coalesce(users.c.lock_expires_at > _now(), text("false"))


def _now() -> ScalarSelect[Any]:
    """The database's clock, read once a statement: as a sub-select it is also a constant an index can use."""
    return select(func.clock_timestamp()).scalar_subquery()


def _encode_cursor(login: str) -> str:
    return base64.urlsafe_b64encode(CURSOR_PREFIX + login.encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> str:
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        login = raw.removeprefix(CURSOR_PREFIX).decode()
    except (binascii.Error, ValueError):
        raise CursorMalformed(cursor) from None
    if not raw.startswith(CURSOR_PREFIX) or "\0" in login:
        raise CursorMalformed(cursor)
    return login
