"""Users of the farm: creating, finding and listing them."""

import base64
import binascii
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, and_, func, not_, select, text

from domain import snapshots
from domain.errors import CursorMalformed, LoginTaken, UserNotFound
from domain.outbox import user_data
from domain.sealing import KeyRing
from domain.snapshots import USER_COLUMNS, User
from domain.tables import users

CURSOR_PREFIX = b"login:"


@dataclass(frozen=True, slots=True)
class NewUser:
    login: str
    password: str | None = field(default=None, repr=False)
    project_id: UUID | None = None
    env: str = "stage"
    domain: str = "regular"
    labels: Mapping[str, str] = field(default_factory=dict)


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


CREATE = text(f"""
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), req AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY login ORDER BY n) AS nth
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:logins AS text[]), CAST(:passwords AS text[]), CAST(:projects AS uuid[]),
        CAST(:envs AS text[]), CAST(:domains AS text[]), CAST(:labels AS jsonb[])
    ) WITH ORDINALITY AS r (id, login, password_sealed, project_id, env, domain, labels, n)
), made AS (
    INSERT INTO users (id, login, password_sealed, project_id, env, domain, labels, created_at, updated_at,
                       available_at, lock_version)
    SELECT id, login, password_sealed, project_id, env, domain, labels, c.now, c.now, c.now, 1
    FROM req CROSS JOIN clock c
    WHERE nth = 1 ORDER BY login COLLATE "C"
    ON CONFLICT (login) DO NOTHING
    RETURNING *
), noted AS (
    INSERT INTO outbox (user_id, lock_version, type, data, occurred_at)
    SELECT m.id, m.lock_version, 'botfarm.user.created.v1', {user_data("m")}, m.created_at
    FROM made m ORDER BY m.login
)
SELECT m.*, m.created_at AS now FROM made m
""")


def create(conn: Connection, *, new: NewUser, ring: KeyRing) -> User:
    """Raises LoginTaken, or SealingUnconfigured for a password that no key can seal."""
    (made,) = create_many(conn, new=[new], ring=ring)
    if isinstance(made, LoginTaken):
        raise made
    return made


def create_many(conn: Connection, *, new: Sequence[NewUser], ring: KeyRing) -> list[User | LoginTaken]:
    """Create all users whose login is free, each with its event; one outcome each, in order.

    A login that comes twice goes to the first. They are inserted in login order, so that two overlapping batches
    cannot deadlock. Raises SealingUnconfigured for a password that no key can seal.
    """
    ids = [uuid.uuid4() for _ in new]
    made = {row.id: row for row in conn.execute(CREATE, _parameters(new, ids=ids, ring=ring))}
    return [
        snapshots.of_row(made[user_id]) if user_id in made else LoginTaken(user.login)
        for user_id, user in zip(ids, new, strict=True)
    ]


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


def _parameters(new: Sequence[NewUser], *, ids: Sequence[UUID], ring: KeyRing) -> dict[str, Any]:
    sealed = [
        None if user.password is None else ring.seal(user.password, user_id=user_id)
        for user_id, user in zip(ids, new, strict=True)
    ]
    return {
        "ids": [str(user_id) for user_id in ids],
        "logins": [user.login for user in new],
        "passwords": sealed,
        "projects": [None if user.project_id is None else str(user.project_id) for user in new],
        "envs": [user.env for user in new],
        "domains": [user.domain for user in new],
        "labels": [json.dumps(dict(user.labels)) for user in new],
    }


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
