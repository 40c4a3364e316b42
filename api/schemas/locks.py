"""The lock of one user: what is sent and what is answered."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints, model_validator

from api.schemas.fields import (
    Metadata,
    Owner,
    Printable,
    Priority,
    TtlSeconds,
    WaitSeconds,
)
from api.schemas.input import Input
from api.schemas.timestamps import Timestamp
from api.schemas.users import LockOut, UserOut


class AcquireIn(Input):
    """One user; without a body the lock is the principal's, for the default time."""

    owner: Annotated[Owner | None, Field(description="Who holds the lock, for people; the principal by default")] = None
    ttl_seconds: TtlSeconds | None = None
    lease_id: Annotated[UUID | None, Field(description="Makes the call idempotent: asking again is answered alike")] = (
        None
    )
    metadata: Metadata = {}
    wait_seconds: WaitSeconds = 0
    priority: Priority = 0


class RenewIn(Input):
    lease_id: UUID
    ttl_seconds: TtlSeconds | None = None


class ReleaseIn(Input):
    lease_id: UUID | None = None
    force: Annotated[bool, Field(strict=True, description="End anybody's lock; needs a reason")] = False
    reason: Annotated[Printable | None, StringConstraints(min_length=1, max_length=500)] = None

    @model_validator(mode="after")
    def _force_stands_alone(self) -> Self:
        if self.force and (self.reason is None or self.lease_id is not None):
            raise ValueError("force needs a reason, and no lease_id")
        if self.reason is not None and not self.force:
            raise ValueError("reason is only for force")
        return self


class LockQuery(Input):
    token: Annotated[int | None, Field(ge=0, le=2**63 - 1, description="Adds `valid`: is this token in force?")] = None
    consistent: Annotated[bool, Field(description="Read the database, not the cache")] = False


class AcquiredOut(UserOut):
    lease_id: UUID
    password: Annotated[str | None, Field(repr=False)]
    server_time: Timestamp


class RenewedOut(UserOut):
    lease_id: UUID
    server_time: Timestamp


class ReleasedOut(UserOut):
    released: Annotated[bool, Field(description="False when there was nothing to end")]


class LockStateOut(BaseModel):
    """Whether a user is locked, and by whom; `valid` answers the token that was asked about."""

    user_id: UUID
    lock: LockOut | None
    lock_version: int
    valid: bool | None = None
