"""The usual shape of such a service, done well: what Botfarm is measured against.

    DATABASE_URL=… python -m uvicorn benchmarks.peers.plain_app:app --workers 2 --no-access-log

Synchronous endpoints in FastAPI's thread pool, a pool of database connections as large as it, one transaction a request
with one statement in it, which changes the user and writes the outbox row. It stands on Botfarm's own tables, writes
the same columns and the same event, and answers with the same fields. It is frozen: it was written before Botfarm's own
way was made faster, and must not change with it, so it imports nothing of Botfarm.
"""

import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import Row, create_engine, text

POOL_SIZE = 20
PRINCIPAL = "plain"

UTC = """'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"""
OUTBOX = "INSERT INTO outbox (user_id, lock_version, type, data, occurred_at, lease_id, principal)"

ACQUIRE = f"""
WITH taken AS (
    UPDATE users SET
        locktime = now(), lock_expires_at = now() + make_interval(secs => :ttl_seconds),
        available_at = now() + make_interval(secs => :ttl_seconds),
        lock_owner = :owner, lock_principal = :principal, lock_metadata = CAST(:metadata AS jsonb),
        lease_id = CAST(:lease_id AS uuid), lock_version = lock_version + 1, lock_token = lock_version + 1
    WHERE id = CAST(:user_id AS uuid) AND status = 'active'
        AND (lock_expires_at IS NULL OR lock_expires_at <= now())
    RETURNING *
), noted AS (
    {OUTBOX}
    SELECT id, lock_version, 'botfarm.lock.acquired.v1', jsonb_build_object(
        'user_id', id, 'login', login, 'project_id', project_id, 'env', env, 'domain', domain,
        'owner', lock_owner, 'metadata', lock_metadata, 'token', lock_token,
        'locktime', to_char(locktime AT TIME ZONE 'UTC', {UTC}),
        'expires_at', to_char(lock_expires_at AT TIME ZONE 'UTC', {UTC}), 'reason', NULL, 'note', NULL
    ), locktime, lease_id, lock_principal
    FROM taken
)
SELECT *, now() AS now FROM taken
"""  # noqa: S608  -- composed of constants; every value is bound

RELEASE = f"""
WITH held AS (
    SELECT * FROM users WHERE id = CAST(:user_id AS uuid) FOR NO KEY UPDATE
), freed AS (
    UPDATE users u SET
        locktime = NULL, lock_expires_at = NULL, lease_id = NULL, lock_owner = NULL, lock_principal = NULL,
        lock_metadata = NULL, lock_version = h.lock_version + 1, available_at = now(),
        last_lease_id = h.lease_id, last_lease_principal = h.lock_principal, last_lease_ended_at = now(),
        last_lease_reason = 'released', last_lease_note = NULL
    FROM held h
    WHERE u.id = h.id AND h.lock_principal = :principal AND h.lock_expires_at > now()
    RETURNING u.*
), noted AS (
    {OUTBOX}
    SELECT h.id, f.lock_version, 'botfarm.lock.released.v1', jsonb_build_object(
        'user_id', h.id, 'login', h.login, 'project_id', h.project_id, 'env', h.env, 'domain', h.domain,
        'owner', h.lock_owner, 'metadata', h.lock_metadata, 'token', h.lock_token,
        'locktime', to_char(h.locktime AT TIME ZONE 'UTC', {UTC}),
        'expires_at', to_char(h.lock_expires_at AT TIME ZONE 'UTC', {UTC}), 'reason', 'holder', 'note', NULL
    ), now(), h.lease_id, h.lock_principal
    FROM freed f JOIN held h ON h.id = f.id
)
SELECT *, now() AS now FROM freed
"""  # noqa: S608  -- composed of constants; every value is bound


class AcquireIn(BaseModel):
    owner: str = PRINCIPAL
    ttl_seconds: int = 900


class LockOut(BaseModel):
    owner: str
    token: int
    acquired_at: datetime
    expires_at: datetime
    ttl_seconds: float
    metadata: dict[str, str]


class UserOut(BaseModel):
    id: UUID
    login: str
    project_id: UUID | None
    env: str
    domain: str
    labels: dict[str, str]
    status: str
    status_reason: str | None
    created_at: datetime
    updated_at: datetime
    locked: bool
    locktime: datetime | None
    lock: LockOut | None
    lock_version: int
    available_at: datetime | None = None  # nobody rests here

    @classmethod
    def of(cls, row: Row[Any], **more: Any) -> Self:  # noqa: ANN401  -- the further fields of a subclass
        return cls(
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
            locked=row.locktime is not None,
            locktime=row.locktime,
            lock_version=row.lock_version,
            **more,
        )


class AcquiredOut(UserOut):
    lease_id: UUID
    password: str | None
    server_time: datetime


class ReleasedOut(UserOut):
    released: bool


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """As many threads as connections: one more would only wait for one."""
    current_default_thread_limiter().total_tokens = POOL_SIZE
    yield
    engine.dispose()


# Not os.environ[…]: the statements are imported elsewhere too, by what is not going to connect.
engine = create_engine(os.environ.get("DATABASE_URL", "postgresql+psycopg2://"), pool_size=POOL_SIZE, max_overflow=0)
app = FastAPI(lifespan=lifespan)
acquire_statement, release_statement = text(ACQUIRE), text(RELEASE)


@app.get("/readyz")
def ready() -> None:
    """Answers once the app serves."""


@app.post("/api/v1/users/{user_id}/acquire_lock")
def acquire(user_id: UUID, body: AcquireIn | None = None) -> AcquiredOut:
    wish = body or AcquireIn()
    parameters = {
        "user_id": str(user_id),
        "lease_id": str(uuid.uuid4()),
        "owner": wish.owner,
        "principal": PRINCIPAL,
        "ttl_seconds": wish.ttl_seconds,
        "metadata": "{}",
    }
    with engine.begin() as conn:
        row = conn.execute(acquire_statement, parameters).one_or_none()
    if row is None:
        raise HTTPException(409, "locked, or not known")
    lock = LockOut(
        owner=row.lock_owner,
        token=row.lock_token,
        acquired_at=row.locktime,
        expires_at=row.lock_expires_at,
        ttl_seconds=(row.lock_expires_at - row.now).total_seconds(),
        metadata=row.lock_metadata,
    )
    # Its users have no password; Botfarm opens a sealed one here.
    return AcquiredOut.of(row, lock=lock, lease_id=row.lease_id, password=None, server_time=row.now)


@app.post("/api/v1/users/{user_id}/release_lock")
def release(user_id: UUID) -> ReleasedOut:
    with engine.begin() as conn:
        row = conn.execute(release_statement, {"user_id": str(user_id), "principal": PRINCIPAL}).one_or_none()
    if row is None:
        raise HTTPException(409, "not locked by the caller")
    return ReleasedOut.of(row, lock=None, released=True)
