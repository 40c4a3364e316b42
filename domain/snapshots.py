"""Pictures of a row at one moment of the database's clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.postgres.raw_rows import Row

USER_COLUMNS = (
    "id",
    "login",
    "password_sealed",
    "project_id",
    "env",
    "domain",
    "labels",
    "status",
    "status_reason",
    "created_at",
    "updated_at",
    "locktime",
    "lock_expires_at",
    "lock_owner",
    "lock_metadata",
    "lock_token",
    "lock_version",
    "available_at",
)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that was in force at the moment of the picture, with `ttl_seconds` left."""

    owner: str
    token: int
    acquired_at: datetime
    expires_at: datetime
    ttl_seconds: float
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class User:
    """A user as seen at `seen_at`; `lock` is None when it was free or its lock had lapsed.

    `available_at` is when an unlocked user may be taken; None when that is now, or when it is locked.
    """

    id: UUID
    login: str
    project_id: UUID | None
    env: str
    domain: str
    labels: Mapping[str, str]
    status: str
    status_reason: str | None
    created_at: datetime
    updated_at: datetime
    lock: Lock | None
    lock_version: int
    available_at: datetime | None
    seen_at: datetime


def of_row(row: Row) -> User:
    """Read a row that has the columns of `users` and the moment they are judged at as `now`."""
    lock = _lock(row)
    return User(
        id=row.id,
        login=row.login,
        project_id=row.project_id,
        env=row.env,
        domain=row.domain,
        labels=row.labels,
        status=row.status,
        status_reason=row.status_reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        lock=lock,
        lock_version=row.lock_version,
        available_at=row.available_at if lock is None and row.available_at > row.now else None,
        seen_at=row.now,
    )


def _lock(row: Row) -> Lock | None:
    if row.locktime is None or row.lock_expires_at <= row.now:
        return None
    return Lock(
        owner=row.lock_owner,
        token=row.lock_token,
        acquired_at=row.locktime,
        expires_at=row.lock_expires_at,
        ttl_seconds=(row.lock_expires_at - row.now).total_seconds(),
        metadata=row.lock_metadata or {},
    )
