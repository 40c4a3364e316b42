"""What callers are told, as Pydantic models: the other source of the OpenAPI document."""

from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from api.schemas.timestamps import Timestamp
from domain import snapshots
from domain.events.contracts.models import FENCING
from domain.requests import Holder, Queued
from domain.statistics import Total


class LockOut(BaseModel):
    """A lock in force; `ttl_seconds` is what is left of it."""

    owner: str
    token: Annotated[int, Field(description=FENCING)]
    acquired_at: Timestamp
    expires_at: Timestamp
    ttl_seconds: float
    metadata: dict[str, str]

    @classmethod
    def of(cls, lock: snapshots.Lock | None) -> Self | None:
        return None if lock is None else cls.model_validate(_fields(lock))


class UserOut(BaseModel):
    """A user of the farm; never its password, never a lease_id. `locktime` and `lock` are null while it is free.

    `locked` says the same as `lock` in one word: clients of the service that this one grew from read it.
    """

    id: UUID
    login: str
    project_id: UUID | None
    env: str
    domain: str
    labels: dict[str, str]
    status: Literal["active", "quarantined"]
    status_reason: str | None
    created_at: Timestamp
    updated_at: Timestamp
    locked: bool
    locktime: Timestamp | None
    lock: LockOut | None
    lock_version: int
    available_at: Annotated[
        Timestamp | None, Field(description="When a user that is not locked may be taken (cool-down); null when now")
    ]

    @classmethod
    def of(cls, user: snapshots.User, **more: Any) -> Self:  # noqa: ANN401  -- the further fields of a subclass
        fields = _fields(user)
        lock = user.lock
        fields |= {"lock": LockOut.of(lock), "locked": lock is not None, "locktime": lock.acquired_at if lock else None}
        return cls.model_validate(fields | more)


class AcquiredOut(UserOut):
    lease_id: UUID
    password: Annotated[str | None, Field(repr=False)]
    server_time: Timestamp


class RenewedOut(UserOut):
    lease_id: UUID
    server_time: Timestamp


class ReleasedOut(UserOut):
    released: Annotated[bool, Field(description="False when there was nothing to end")]


class LostOut(BaseModel):
    """A lease that is over. `ended_at` is null when its end is no longer remembered."""

    user_id: UUID
    lease_id: UUID
    reason: str
    ended_at: Timestamp | None


class PoolOut(BaseModel):
    """The users of a request whose leases live, and those it had and lost."""

    request_id: UUID
    users: list[AcquiredOut]
    lost: list[LostOut]
    server_time: Timestamp


class HeldOut(BaseModel):
    user_id: UUID
    lease_id: UUID
    expires_at: Timestamp


class RenewedManyOut(BaseModel):
    renewed: list[HeldOut]
    lost: list[LostOut]
    server_time: Timestamp


class LeaseOut(BaseModel):
    user_id: UUID
    lease_id: UUID


class ReleasedManyOut(BaseModel):
    released: list[LeaseOut]
    lost: list[LostOut]
    server_time: Timestamp


class HolderOut(BaseModel):
    user_id: UUID
    login: str
    owner: str
    expires_at: Timestamp


class RequestOut(BaseModel):
    """A request for users. `position` 1 is next among those that ask for the same; null once it is granted.

    `detached` requests keep their place for 15 s after their last call, and are not granted meanwhile.
    """

    request_id: UUID
    principal: str
    owner: str
    state: Literal["waiting", "detached", "granted"]
    position: int | None
    priority: int
    user_id: UUID | None
    project_id: UUID | None
    env: str | None
    domain: str | None
    labels: dict[str, str]
    count: int
    created_at: Timestamp
    waited_seconds: float
    matching: Annotated[int | None, Field(description="Active users that match, whatever their locks")] = None
    holders: list[HolderOut] = []

    @classmethod
    def of(cls, queued: Queued) -> Self:
        fields = _fields(queued)
        holders = [HolderOut.model_validate(_fields(holder)) for holder in queued.holders]
        return cls.model_validate(fields | {"count": queued.wanted, "holders": holders})


class TotalOut(BaseModel):
    """Users of one project, env and domain, and requests in line that name exactly these."""

    project_id: UUID | None
    env: str | None
    domain: str | None
    users: int
    free: int
    locked: int
    quarantined: int
    cooling: int
    waiting: int

    @classmethod
    def of(cls, total: Total) -> Self:
        return cls.model_validate(_fields(total))


class StatsOut(BaseModel):
    totals: list[TotalOut]


class LockStateOut(BaseModel):
    """Whether a user is locked, and by whom; `valid` answers the token that was asked about."""

    user_id: UUID
    lock: LockOut | None
    lock_version: int
    valid: bool | None = None


class BatchOut(BaseModel):
    """One result a row, in order: `{status: 201, user}` or `{status, problem}`."""

    results: list[dict[str, Any]]


def _fields(snapshot: snapshots.User | snapshots.Lock | Queued | Holder | Total) -> dict[str, Any]:
    names = type(snapshot).__slots__
    return dict(zip(names, _reader(names)(snapshot), strict=True))


@cache
def _reader(names: Sequence[str]) -> Callable[[object], Sequence[Any]]:
    """What reads all these fields in one go."""
    return attrgetter(*names)
