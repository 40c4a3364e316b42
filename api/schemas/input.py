"""What callers send, as Pydantic models: one source of the OpenAPI document."""

from datetime import timedelta
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.schemas.fields import (
    LabelFilter,
    Labels,
    Login,
    Metadata,
    Moment,
    Owner,
    Password,
    Printable,
    Priority,
    Slug,
    TtlSeconds,
    WaitSeconds,
)
from domain.events.feed import Filter

DAY_SECONDS = 86_400
WEEK_SECONDS = 7 * DAY_SECONDS


class Input(BaseModel):
    """Whatever is not known is refused: a misspelt field must not be silently without effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class UserIn(Input):
    login: Login
    password: Annotated[Password | None, Field(repr=False)] = None
    project_id: UUID | None = None
    env: Slug = "stage"
    domain: Slug = "regular"
    labels: Labels = {}


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
        raise ValueError("each user may come once")
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
            raise ValueError("give either leases or owner")
        return self


class UserPatch(Input):
    """What is left out stays; a lock is never touched."""

    password: Annotated[Password | None, Field(repr=False)] = None
    project_id: UUID | None = None
    env: Slug | None = None
    domain: Slug | None = None
    labels: Labels | None = None
    status: Literal["active", "quarantined"] | None = None
    status_reason: Annotated[Printable | None, StringConstraints(max_length=500)] = None

    @model_validator(mode="after")
    def _sets_what_can_be_set(self) -> Self:
        for name in ("password", "env", "domain", "labels", "status"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null: leave it out to keep it")
        if "status_reason" in self.model_fields_set and self.status != "quarantined":
            raise ValueError('status_reason goes with status "quarantined"')
        return self


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
            raise ValueError("force needs a reason and no lease_id")
        if self.reason is not None and not self.force:
            raise ValueError("reason goes with force only")
        return self


class UsersQuery(Input):
    project_id: Annotated[UUID | Literal["none"] | None, Field(description="A project, or `none`")] = None
    env: Slug | None = None
    domain: Slug | None = None
    label: Annotated[list[LabelFilter], Field(max_length=64)] = []
    locked: bool | None = None
    status: Literal["active", "quarantined"] | None = None
    login: Login | None = None
    login_prefix: Login | None = None
    owner: Owner | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    after: Annotated[str | None, Field(max_length=1_000)] = None


class ForceQuery(Input):
    """What another principal holds ends by force only, and whoever uses force says why."""

    force: Annotated[bool, Field(description="End what another principal holds; needs a reason and scope admin")] = (
        False
    )
    reason: Annotated[Printable | None, StringConstraints(min_length=1, max_length=500)] = None

    @model_validator(mode="after")
    def _force_has_a_reason(self) -> Self:
        if self.force != (self.reason is not None):
            raise ValueError("force and reason go together")
        return self


class DeleteQuery(ForceQuery):
    force: Annotated[bool, Field(description="Delete a locked user too; needs a reason")] = False


class RotateIn(Input):
    overlap_seconds: Annotated[
        int, Field(strict=True, ge=0, le=WEEK_SECONDS, description="So long the old one is good too")
    ] = DAY_SECONDS

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


class LimitQuery(Input):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class HistoryQuery(Input):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    after: Annotated[str | None, Field(max_length=40, description="Events older than this cursor")] = None
    at: Annotated[
        Moment | None,
        Field(description="RFC 3339: only the grant or renewal that held the user at this moment, or none"),
    ] = None

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if self.at is not None and self.after is not None:
            raise ValueError("`at` asks for one moment and has no pages: leave out `after`")
        return self


class StreamQuery(Input):
    after: Annotated[str | None, Field(max_length=40, description="A cursor, or `latest`")] = None
    type: list[Annotated[Printable, StringConstraints(max_length=100)]] = []
    user_id: UUID | None = None
    project_id: UUID | None = None
    env: Slug | None = None

    @property
    def by(self) -> Filter:
        return Filter(tuple(self.type), self.user_id, self.project_id, self.env)


class EventsQuery(StreamQuery):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    wait_seconds: Annotated[int, Field(ge=0, le=60, description="Wait so long for a first event")] = 0


class LockQuery(Input):
    token: Annotated[int | None, Field(ge=0, le=2**63 - 1, description="Adds `valid`: is this token in force?")] = None
    consistent: Annotated[bool, Field(description="Read the database, not the cache")] = False
