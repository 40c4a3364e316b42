"""Changing and deleting users, without ever touching a lock that is in force by the way."""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, text, update

from domain import locks
from domain import users as farm
from domain.errors import UserLocked
from domain.events.outbox import user_data
from domain.locks import Release, reservations
from domain.sealing import KeyRing
from domain.snapshots import User
from domain.tables import users

NOTE = text(f"""
INSERT INTO outbox (user_id, lock_version, type, data, occurred_at, principal, traceparent)
SELECT u.id, u.lock_version, :type, {user_data("u")}, clock_timestamp(), :principal, :traceparent
FROM users u WHERE u.id = :user_id
""")
ROW_LOCK = text("SELECT id FROM users WHERE id = :user_id FOR UPDATE")
TELLING = ("project_id", "env", "domain", "labels", "status", "status_reason")


@dataclass(frozen=True, slots=True)
class Change:
    """The fields to set, by name: `password` and those of TELLING. A user set active has no `status_reason`."""

    fields: Mapping[str, Any] = dataclasses.field(repr=False)


def change(
    conn: Connection,
    *,
    user_id: UUID,
    to: Change,
    ring: KeyRing,
    principal: str,
    projects: Collection[UUID] | None = None,
    traceparent: str | None = None,
) -> User:
    """Set the fields, with an `updated` event; a change that changes nothing writes nothing.

    A user that is locked stays locked, in quarantine too: it may be renewed, and is not granted again.
    Raises UserNotFound; SealingUnconfigured for a password that no key can seal.
    """
    before = _locked(conn, user_id=user_id, projects=projects)
    fields = {name: value for name, value in to.fields.items() if name in TELLING}
    if fields.get("status") == "active":
        fields["status_reason"] = None
    fields = {name: value for name, value in fields.items() if getattr(before, name) != value}
    password = to.fields.get("password")
    if password is not None:
        fields["password_sealed"] = ring.seal(password, user_id=user_id)
    if fields:
        moment = text("clock_timestamp()")
        conn.execute(
            update(users)
            .where(users.c.id == user_id)
            .values(**fields, updated_at=moment, lock_version=users.c.lock_version + 1)
        )
        _note(conn, "botfarm.user.updated.v1", user_id=user_id, principal=principal, traceparent=traceparent)
        conn.execute(text(reservations.MARK_SATISFIABLE))
    return farm.get(conn, user_id=user_id)


def remove(
    conn: Connection,
    *,
    user_id: UUID,
    principal: str,
    force_reason: str | None = None,
    projects: Collection[UUID] | None = None,
    traceparent: str | None = None,
) -> None:
    """Delete the user, with a `deleted` event; its lock, if it has one, ends first, with an event of its own.

    Raises UserNotFound; UserLocked for a lock in force unless `force_reason` is given.
    """
    user = _locked(conn, user_id=user_id, projects=projects)
    if user.lock is not None and force_reason is None:
        raise UserLocked(user_id, user.lock.owner, user.lock.expires_at)
    locks.expire(conn, user_id=user_id)
    if force_reason is not None:  # judged on the locked row above, its projects too
        forced = Release(user_id, principal, reason="forced", note=force_reason, traceparent=traceparent)
        locks.release(conn, [forced])
    conn.execute(update(users).where(users.c.id == user_id).values(lock_version=users.c.lock_version + 1))
    _note(conn, "botfarm.user.deleted.v1", user_id=user_id, principal=principal, traceparent=traceparent)
    conn.execute(delete(users).where(users.c.id == user_id))


def _locked(conn: Connection, *, user_id: UUID, projects: Collection[UUID] | None) -> User:
    """The user as it is while its row is locked."""
    conn.execute(ROW_LOCK, {"user_id": user_id})
    return farm.get(conn, user_id=user_id, projects=projects)


def _note(conn: Connection, kind: str, *, user_id: UUID, principal: str, traceparent: str | None) -> None:
    values = {"type": kind, "user_id": user_id, "principal": principal, "traceparent": traceparent}
    conn.execute(NOTE, values)
