"""Users: what is sent and what is answered."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints, model_validator

from api.schemas.fields import (
    LabelFilter,
    Labels,
    Login,
    Moment,
    Owner,
    Password,
    Printable,
    Slug,
)
from api.schemas.input import ForceQuery, Input
from api.schemas.output import fields_of
from api.schemas.timestamps import Timestamp
from domain import snapshots
from domain.events.contracts.models import FENCING


class UserIn(Input):
    login: Login
    password: Annotated[Password | None, Field(repr=False)] = None
    project_id: UUID | None = None
    env: Slug = "stage"
    domain: Slug = "regular"
    labels: Labels = {}


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
                raise ValueError(f"{name} cannot be null; leave it out to keep its value")
        if "status_reason" in self.model_fields_set and self.status != "quarantined":
            raise ValueError('status_reason is only for status "quarantined"')
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


class DeleteQuery(ForceQuery):
    force: Annotated[bool, Field(description="Delete a locked user too; needs a reason")] = False


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
            raise ValueError("`at` has no pages; leave out `after`")
        return self


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
        return None if lock is None else cls.model_validate(fields_of(lock))


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
        fields = fields_of(user)
        lock = user.lock
        fields |= {"lock": LockOut.of(lock), "locked": lock is not None, "locktime": lock.acquired_at if lock else None}
        return cls.model_validate(fields | more)


class BatchOut(BaseModel):
    """One result a row, in order: `{status: 201, user}` or `{status, problem}`."""

    results: list[dict[str, Any]]
