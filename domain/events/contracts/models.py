"""Every type of event, as CloudEvents 1.0 JSON with the extensions of this service."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

UUID_PATTERN = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

Uuid = Annotated[str, Field(pattern=f"^{UUID_PATTERN}$", json_schema_extra={"format": "uuid"})]
Moment = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
        description="UTC by the database's clock, with microseconds",
        json_schema_extra={"format": "date-time"},
    ),
]
Strings = dict[str, str]
Sequence = Annotated[str, Field(pattern="^[0-9]{20}$", description="The number in the one order, padded with zeros")]
Epoch = Annotated[str, Field(pattern="^[1-9][0-9]*$", description="Which history of the database `sequence` counts in")]
CursorText = Annotated[
    str, Field(pattern="^[1-9][0-9]*-[1-9][0-9]*$", description="`<epoch>-<sequence>`: the place to go on from")
]
Version = Annotated[int, Field(ge=1, description="Counts the events of this user: 1, 2, 3 …")]
Traceparent = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        description="W3C Trace Context of the request that made the change",
    ),
]

FENCING = (
    "The fencing token: it grows with every grant of this user, across restores and failovers too, stays below 2^53, "
    "and is not the lock_version"
)


class Event(BaseModel):
    specversion: Literal["1.0"]
    id: Annotated[Uuid, Field(description="Tells the event from all others, whichever way it came")]
    source: Literal["/botfarm"]
    time: Moment
    datacontenttype: Literal["application/json"]
    sequence: Sequence
    epoch: Epoch
    cursor: CursorText
    partitionkey: Annotated[Uuid, Field(description="The entity: its events are in the order of its changes")]
    traceparent: Traceparent  # absent where there is nothing to say: see `schemas.OPTIONAL`


class AboutUser(Event):
    subject: Annotated[str, Field(pattern=f"^users/{UUID_PATTERN}$")]
    lockversion: Version
    principal: Annotated[str, Field(min_length=1, description="Who did it, or whose lock expired; only in histories")]


class UserNamed(BaseModel):
    user_id: Uuid
    login: Annotated[str, Field(min_length=1)]
    project_id: Uuid | None
    env: str
    domain: str


class UserData(UserNamed):
    """The user as the change left it, or as it was when it was deleted. Never a password."""

    labels: Strings
    status: Literal["active", "quarantined"]
    status_reason: str | None


class UserCreated(AboutUser):
    """A user was created."""

    type: Literal["botfarm.user.created.v1"]
    data: UserData


class UserUpdated(AboutUser):
    """A user was changed; its lock was not touched."""

    type: Literal["botfarm.user.updated.v1"]
    data: UserData


class UserDeleted(AboutUser):
    """A user was deleted: the last event of this user."""

    type: Literal["botfarm.user.deleted.v1"]
    data: UserData


class LeaseData(UserNamed):
    """The lease that the event is about. Never its lease_id."""

    owner: Annotated[str, Field(min_length=1)]
    metadata: Strings
    token: Annotated[int, Field(ge=1, description=FENCING)]
    locktime: Annotated[Moment, Field(description="When the lease was granted")]
    expires_at: Annotated[Moment, Field(description="When the lease ends unless it is renewed, or ended")]


class LockData(LeaseData):
    reason: None
    note: None


class ReleasedData(LeaseData):
    reason: Annotated[
        Literal["holder", "forced", "unclaimed"],
        Field(description="Given back, forced out, or undone because its caller had gone"),
    ]
    note: Annotated[str | None, Field(description="What the one who forced it gave as the reason")]


class LockAcquired(AboutUser):
    """A lock was granted."""

    type: Literal["botfarm.lock.acquired.v1"]
    data: LockData


class LockRenewed(AboutUser):
    """The end of a lock was set to a new time."""

    type: Literal["botfarm.lock.renewed.v1"]
    data: LockData


class LockReleased(AboutUser):
    """A lock was ended before its time."""

    type: Literal["botfarm.lock.released.v1"]
    data: ReleasedData


class LockExpired(AboutUser):
    """A lock ended unreleased, at `data.expires_at`; `time` is when that was noted, which may be later."""

    type: Literal["botfarm.lock.expired.v1"]
    data: LockData


class DisabledData(BaseModel):
    webhook_id: Uuid
    reason: Annotated[str, Field(min_length=1)]
    cursor: Annotated[str, Field(pattern="^[0-9]+-[0-9]+$", description="How far it was delivered; to resume after")]


class WebhookDisabled(Event):
    """A webhook was given up after its last retry, or at its receiver's wish."""

    type: Literal["botfarm.webhook.disabled.v1"]
    subject: Annotated[str, Field(pattern=f"^webhooks/{UUID_PATTERN}$")]
    data: DisabledData


EVENTS: tuple[type[Event], ...] = (
    UserCreated,
    UserUpdated,
    UserDeleted,
    LockAcquired,
    LockRenewed,
    LockReleased,
    LockExpired,
    WebhookDisabled,
)
