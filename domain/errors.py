"""What the rules refuse, named for what is wrong. Nothing here knows HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

LeaseEnd = Literal["expired", "forced", "released", "unclaimed", "unknown"]


@dataclass(frozen=True)
class LinePosition:
    """Where in line the request stands that was refused for now; 1 is next."""

    request_id: UUID
    position: int


class Refusal(Exception):  # noqa: N818  -- a refusal is a normal answer, not an error
    """Something that was asked for and, by the rules, is not given.

    `place` is the place kept for a call that waited.
    """

    place: LinePosition | None = None


@dataclass(eq=False)
class UserNotFound(Refusal):
    user_id: UUID


@dataclass(eq=False)
class LoginTaken(Refusal):
    login: str


@dataclass(eq=False)
class LockHeld(Refusal):
    """Somebody holds the user. Times are the database's; `retry_after_seconds` is what is left of the lease."""

    user_id: UUID
    owner: str
    expires_at: datetime
    retry_after_seconds: float


@dataclass(eq=False)
class CoolingDown(Refusal):
    """The last lock expired without a release and the user rests until `available_at`."""

    user_id: UUID
    available_at: datetime
    retry_after_seconds: float


@dataclass(eq=False)
class UserQuarantined(Refusal):
    user_id: UUID
    status_reason: str | None


@dataclass(eq=False)
class LeaseLost(Refusal):
    """The lease is over. `ended_at` is None when its end is no longer remembered; `owner` holds the user now.

    `note` is what the principal that forced it out gave as its reason.
    """

    user_id: UUID
    reason: LeaseEnd
    ended_at: datetime | None
    owner: str | None
    note: str | None = None


@dataclass(eq=False)
class NotLockHolder(Refusal):
    """A principal that does not hold the lock would end it without force: by a bare release, or with its request."""

    user_id: UUID
    owner: str
    request_id: UUID | None = None


@dataclass(eq=False)
class LifetimeExceeded(Refusal):
    """Renewing would keep the lease alive beyond the longest life allowed; it ends at `expires_at`."""

    user_id: UUID
    expires_at: datetime
    lifetime_max_seconds: float


@dataclass(eq=False)
class CursorMalformed(Refusal):
    cursor: str


@dataclass(eq=False)
class CursorTooOld(Refusal):
    """The events after `cursor` are gone; `oldest` is where reading can begin."""

    cursor: str
    oldest: str


@dataclass(eq=False)
class HistoryTooOld(Refusal):
    """The events that would tell are gone; the oldest one kept is of `since`."""

    user_id: UUID
    since: datetime


@dataclass(eq=False)
class CursorUnknown(Refusal):
    """The cursor was never given out by this history: a rewound database, or another farm. `latest` is its end."""

    cursor: str
    latest: str


class SealingUnconfigured(Refusal):
    """A password or a webhook's secret cannot be stored because no sealing key is configured."""


class SealBroken(Refusal):
    """A stored password does not open: altered, moved between rows, or sealed with a key that is gone."""


class DatabaseUnavailable(Refusal):
    """Postgres did not answer in time; whether the change was made is not known here."""


class Overloaded(Refusal):
    """More calls are waiting than can be served in time; nothing was done."""


@dataclass(eq=False)
class UserLocked(Refusal):
    """The user cannot be deleted while somebody holds it."""

    user_id: UUID
    owner: str
    expires_at: datetime


@dataclass(eq=False)
class LineAhead(Refusal):
    """The user is free, but kept for somebody who waits in line for it."""

    user_id: UUID


class LineFull(Refusal):
    """As many requests wait as may; nothing was done."""


@dataclass(eq=False)
class NoUserFree(Refusal):
    """Enough users match, but too few are free; `position` is the place in line, 1 being next.

    `counted` when a count of one moment has confirmed it: not, when others were quicker at every try.
    """

    request_id: UUID
    position: int
    retry_after_seconds: float
    counted: bool = True


@dataclass(eq=False)
class NoMatchingUser(Refusal):
    """The farm could never satisfy the request: only `matching` active users match, whatever their locks."""

    count: int
    matching: int


@dataclass(eq=False)
class RequestEnded(Refusal):
    """The request was granted, and all its leases are over: there is nothing left to have or to end."""

    request_id: UUID


@dataclass(eq=False)
class RequestIdReused(Refusal):
    """The same principal asked for something else under this id."""

    request_id: UUID


@dataclass(eq=False)
class RequestNotFound(Refusal):
    request_id: UUID


@dataclass(eq=False)
class WebhookNotFound(Refusal):
    webhook_id: UUID


@dataclass(eq=False)
class TooManyWebhooks(Refusal):
    """The farm has as many webhooks as it may have, whosever they are."""

    webhooks_most: int


@dataclass(eq=False)
class DeliveryNotFound(Refusal):
    delivery_id: int


@dataclass(eq=False)
class EventGone(Refusal):
    """The event of that delivery is no longer kept."""

    event_id: UUID


@dataclass(eq=False)
class AddressForbidden(Refusal):
    """Webhooks must not be sent to this host: it is, or resolves to, an address that is not public."""

    host: str


class Unauthenticated(Refusal):
    """Nobody is known to be calling; not said is why, for that would help to guess."""


class Forbidden(Refusal):
    """The caller is known and may not do that; not said is what it lacks."""


@dataclass(eq=False)
class TooManyLocks(Refusal):
    """The principal would hold more locks at once than its key allows, counting what it waits for in line."""

    locks_most: int


@dataclass(eq=False)
class KeyNotFound(Refusal):
    key_id: UUID


@dataclass(eq=False)
class KeyNameTaken(Refusal):
    """A key that is not revoked has this name."""

    name: str
