"""Making, listing, rotating and revoking keys."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, null, select, text, update
from sqlalchemy.dialects.postgresql import insert

from domain.errors import KeyNameTaken, KeyNotFound
from domain.keys import forms
from domain.tables import api_keys


@dataclass(frozen=True, slots=True)
class NewKey:
    """`projects` and `locks_most` limit the key; None does not. `expires_at` None is never."""

    name: str
    scopes: Sequence[str]
    projects: Collection[UUID] | None = None
    locks_most: int | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is shown: never its secret nor its hash."""

    id: UUID
    name: str
    hint: str
    scopes: Sequence[str]
    projects: Sequence[UUID] | None
    locks_most: int | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    previous_valid_until: datetime | None


def create(conn: Connection, *, new: NewKey, created_by: str) -> tuple[Key, str]:
    """The key and, this once, what it is. Raises KeyNameTaken."""
    key = forms.make()
    row = {
        "id": uuid.uuid4(),
        "name": new.name,
        **_kept_of(key),
        "scopes": [scope for scope in forms.SCOPES if scope in new.scopes],
        "projects": None if new.projects is None else sorted(set(new.projects)),
        "locks_most": new.locks_most,
        "created_at": func.clock_timestamp(),
        "created_by": created_by,
        "expires_at": new.expires_at,
    }
    statement = insert(api_keys).values(row)
    unless_taken = statement.on_conflict_do_nothing(index_elements=["name"], index_where=text("revoked_at IS NULL"))
    if conn.execute(unless_taken.returning(api_keys.c.id)).one_or_none() is None:
        raise KeyNameTaken(new.name)
    return get(conn, key_id=row["id"]), key


def find(
    conn: Connection, *, limit: int, after: UUID | None = None, projects: Collection[UUID] | None = None
) -> Sequence[Key]:
    """The keys beyond the id `after`, revoked ones too; `projects` are those that the caller is limited to."""
    statement = _pictures().where(*_within(projects)).order_by(api_keys.c.id).limit(limit)
    if after is not None:
        statement = statement.where(api_keys.c.id > after)
    return [_of_row(row) for row in conn.execute(statement)]


def get(conn: Connection, *, key_id: UUID, projects: Collection[UUID] | None = None) -> Key:
    """Raises KeyNotFound, also for a key that may do more than the `projects` its caller is limited to."""
    row = conn.execute(_pictures().where(api_keys.c.id == key_id, *_within(projects))).one_or_none()
    if row is None:
        raise KeyNotFound(key_id)
    return _of_row(row)


def revoke(conn: Connection, *, key_id: UUID, projects: Collection[UUID] | None = None) -> None:
    """End the key, for good; one that was revoked before stays as it is. Its locks live on. Raises KeyNotFound."""
    get(conn, key_id=key_id, projects=projects)
    alive = (api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    conn.execute(update(api_keys).where(*alive).values(revoked_at=func.clock_timestamp()))


def rotate(
    conn: Connection, *, key_id: UUID, overlap: timedelta, projects: Collection[UUID] | None = None
) -> tuple[Key, str]:
    """The key with a new secret, shown only here; during the overlap the previous one is valid too.

    Of two rotations within an overlap the first key is good no more. Raises KeyNotFound, also for a revoked key.
    """
    get(conn, key_id=key_id, projects=projects)
    key = forms.make()
    alive = (api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    previous = {
        "previous_hash": api_keys.c.hash if overlap else None,
        "previous_valid_until": func.clock_timestamp() + overlap if overlap else None,
    }
    if not conn.execute(update(api_keys).where(*alive).values(**_kept_of(key), **previous)).rowcount:
        raise KeyNotFound(key_id)
    return get(conn, key_id=key_id), key


def _kept_of(key: str) -> dict[str, Any]:
    return {"hash": forms.digest(key), "hint": forms.hint(key)}


def _pictures() -> Select[Any]:
    columns = api_keys.c
    overlaps = columns.previous_valid_until > func.clock_timestamp()
    until = case((overlaps, columns.previous_valid_until), else_=null()).label("previous_valid_until")
    return select(*(columns[field.name] for field in fields(Key) if field.name != until.name), until)


def _within(projects: Collection[UUID] | None) -> list[ColumnElement[bool]]:
    """A limited admin sees the keys that may do no more than itself; an array that is null is contained in none."""
    return [] if projects is None else [api_keys.c.projects.contained_by(list(projects))]


def _of_row(row: Row[Any]) -> Key:
    return Key(**row._mapping)  # noqa: SLF001  -- SQLAlchemy's public name for the row as a mapping
