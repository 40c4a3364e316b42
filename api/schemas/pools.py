"""Many locks at once: what is sent and what is answered."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, model_validator

from api.schemas.fields import (
    Labels,
    Metadata,
    Owner,
    Priority,
    Slug,
    TtlSeconds,
    WaitSeconds,
)
from api.schemas.input import Input
from api.schemas.locks import AcquiredOut
from api.schemas.timestamps import Timestamp


class PoolIn(Input):
    """Any `count` users that match all that is given: all of them, or none."""

    project_id: UUID | None = None
    env: Slug | None = None
    domain: Slug | None = None
    labels: Labels = {}
    count: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    owner: Owner | None = None
    ttl_seconds: TtlSeconds | None = None
    metadata: Metadata = {}
    wait_seconds: WaitSeconds = 0
    priority: Priority = 0
    request_id: Annotated[UUID | None, Field(description="Makes the call idempotent, and keeps its place in line")] = (
        None
    )


class LeaseIn(Input):
    user_id: UUID
    lease_id: UUID


def _each_user_once(leases: list[LeaseIn]) -> list[LeaseIn]:
    if len({lease.user_id for lease in leases}) < len(leases):
        raise ValueError("must not repeat a user")
    return leases


Leases = Annotated[list[LeaseIn], Field(min_length=1, max_length=1_000), AfterValidator(_each_user_once)]


class RenewManyIn(Input):
    leases: Leases
    ttl_seconds: TtlSeconds | None = None


class ReleaseManyIn(Input):
    """Either `leases`, or the `owner` whose locks of this principal are all released."""

    leases: Leases | None = None
    owner: Owner | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.leases is None) == (self.owner is None):
            raise ValueError("needs either leases or owner, not both")
        return self


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
