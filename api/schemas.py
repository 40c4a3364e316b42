"""What callers send and what they are told, as Pydantic models: the source of the OpenAPI document."""

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.timestamps import Timestamp
from domain import snapshots

METADATA_MOST_BYTES = 2_048
UNPRINTABLE = frozenset({"Cc", "Cs"})  # control characters, and halves of surrogate pairs that UTF-8 cannot hold


def _printable(text: str) -> str:
    if any(unicodedata.category(character) in UNPRINTABLE for character in text):
        raise ValueError("must hold no control characters and no lone surrogates")
    return text


def _encodable(text: str) -> str:
    """A password may hold anything that can be stored and given back unchanged."""
    if any(unicodedata.category(character) == "Cs" for character in text):
        raise ValueError("must hold no lone surrogates")
    return text


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _small(metadata: Mapping[str, str]) -> Mapping[str, str]:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if size > METADATA_MOST_BYTES:
        raise ValueError(f"must be {METADATA_MOST_BYTES} bytes at most, keys and values together")
    return metadata


Printable = Annotated[str, AfterValidator(_printable)]
Login = Annotated[
    str, StringConstraints(min_length=1, max_length=254), AfterValidator(_printable), AfterValidator(_nfc)
]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1_024), AfterValidator(_encodable)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=63), AfterValidator(_printable)]
LabelValue = Annotated[str, StringConstraints(max_length=200), AfterValidator(_printable)]
LabelFilter = Annotated[str, StringConstraints(pattern=r"^[^:]+:"), AfterValidator(_printable)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
Owner = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Metadata = Annotated[dict[Printable, Printable], AfterValidator(_small)]
TtlSeconds = Annotated[int, Field(strict=True, ge=1, description="How long the lock lasts from now, in seconds")]


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
    owner: Annotated[Owner | None, Field(description="Who holds the lock, for people; the principal by default")] = None
    ttl_seconds: TtlSeconds | None = None
    lease_id: Annotated[UUID | None, Field(description="Makes the call idempotent: asking again is answered alike")] = (
        None
    )
    metadata: Metadata = {}


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


class HistoryQuery(Input):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    after: Annotated[str | None, Field(max_length=40, description="Events older than this cursor")] = None


class EventsQuery(Input):
    after: Annotated[str | None, Field(max_length=40, description="A cursor, or `latest`")] = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    wait_seconds: Annotated[int, Field(ge=0, le=60, description="Wait so long for a first event")] = 0
    type: list[Annotated[Printable, StringConstraints(max_length=100)]] = []
    user_id: UUID | None = None
    project_id: UUID | None = None
    env: Slug | None = None


class LockQuery(Input):
    token: Annotated[int | None, Field(ge=0, le=2**63 - 1, description="Adds `valid`: is this token in force?")] = None
    consistent: Annotated[bool, Field(description="Read the database, not the cache")] = False


class LockOut(BaseModel):
    """A lock in force; `ttl_seconds` is what is left of it."""

    owner: str
    token: Annotated[int, Field(description="The fencing token: it grows with every grant of this user")]
    acquired_at: Timestamp
    expires_at: Timestamp
    ttl_seconds: float
    metadata: dict[str, str]

    @classmethod
    def of(cls, lock: snapshots.Lock | None) -> Self | None:
        return None if lock is None else cls.model_validate(_fields(lock))


class UserOut(BaseModel):
    """A user of the farm; never its password, never a lease_id. `locktime` and `lock` are null while it is free."""

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
    locktime: Timestamp | None
    lock: LockOut | None
    lock_version: int

    @classmethod
    def of(cls, user: snapshots.User, **more: Any) -> Self:  # noqa: ANN401  -- the further fields of a subclass
        fields = _fields(user)
        fields |= {"lock": LockOut.of(user.lock), "locktime": user.lock.acquired_at if user.lock else None}
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


class LockStateOut(BaseModel):
    """Whether a user is locked, and by whom; `valid` answers the token that was asked about."""

    user_id: UUID
    lock: LockOut | None
    lock_version: int
    valid: bool | None = None


class BatchOut(BaseModel):
    """One result a row, in order: `{status: 201, user}` or `{status, problem}`."""

    results: list[dict[str, Any]]


def _fields(snapshot: snapshots.User | snapshots.Lock) -> dict[str, Any]:
    return {name: getattr(snapshot, name) for name in type(snapshot).__slots__}
