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
from domain.errors import CursorMalformed, LoginTaken, Refusal, SealingUnconfigured, UserNotFound
from domain.events.outbox import user_data
from domain.locks import reservations
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
        CAST(:id AS uuid[]), CAST(:login AS text[]), CAST(:password_sealed AS text[]), CAST(:project_id AS uuid[]),
        CAST(:env AS text[]), CAST(:domain AS text[]), CAST(:labels AS jsonb[])
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
    INSERT INTO outbox (user_id, lock_version, type, data, occurred_at, principal, traceparent)
    SELECT m.id, m.lock_version, 'botfarm.user.created.v1', {user_data("m")}, m.created_at,
        :principal, :traceparent
    FROM made m ORDER BY m.login
)
SELECT m.*, m.created_at AS now FROM made m
""")


def create(
    conn: Connection, *, new: NewUser, ring: KeyRing, principal: str | None = None, traceparent: str | None = None
) -> User:
    """Raises LoginTaken, or SealingUnconfigured for a password that no key can seal."""
    (made,) = create_many(conn, new=[new], ring=ring, principal=principal, traceparent=traceparent)
    if isinstance(made, Refusal):
        raise made
    return made


def create_many(
    conn: Connection,
    *,
    new: Sequence[NewUser],
    ring: KeyRing,
    principal: str | None = None,
    traceparent: str | None = None,
) -> list[User | Refusal]:
    """Create all users that can be, each with its event; one outcome each, in order.

    A login that comes twice goes to the first. They are inserted in login order, so that two overlapping batches
    cannot deadlock.

    Refusals: LoginTaken; SealingUnconfigured for a password that no key can seal.
    """
    rows = [_row(user, ring=ring) for user in new]
    parameters = _parameters([row for row in rows if not isinstance(row, Refusal)])
    told = {"principal": principal, "traceparent": traceparent}
    made = {row.id: snapshots.of_row(row) for row in conn.execute(CREATE, parameters | told)}
    conn.execute(text(reservations.HOPE))
    return [row if isinstance(row, Refusal) else made.get(row["id"], LoginTaken(row["login"])) for row in rows]


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


def _row(user: NewUser, *, ring: KeyRing) -> dict[str, Any] | Refusal:
    user_id = uuid.uuid4()
    try:
        sealed = None if user.password is None else ring.seal(user.password, user_id=user_id)
    except SealingUnconfigured as refusal:
        return refusal
    return {
        "id": user_id,
        "login": user.login,
        "password_sealed": sealed,
        "project_id": user.project_id,
        "env": user.env,
        "domain": user.domain,
        "labels": json.dumps(dict(user.labels)),
    }


def _parameters(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """One array a column, as unnest takes them; UUIDs as text."""
    columns = ("id", "login", "password_sealed", "project_id", "env", "domain", "labels")
    return {
        column: [str(row[column]) if isinstance(row[column], UUID) else row[column] for row in rows]
        for column in columns
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
