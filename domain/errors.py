"""What the rules refuse, named for what is wrong. Nothing here knows HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

LeaseEnd = Literal["expired", "forced", "released", "unclaimed", "unknown"]


class Refusal(Exception):  # noqa: N818  -- a refusal is a normal answer, not an error
    """Something that was asked for and, by the rules, is not given."""


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
    """A bare release by a principal that does not hold the lock."""

    user_id: UUID
    owner: str


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
class CursorUnknown(Refusal):
    """The cursor was never given out by this history: a rewound database, or another farm. `latest` is its end."""

    cursor: str
    latest: str


class SealingUnconfigured(Refusal):
    """A password cannot be stored because no sealing key is configured."""


class SealBroken(Refusal):
    """A stored password does not open: altered, moved between rows, or sealed with a key that is gone."""


class DatabaseUnavailable(Refusal):
    """Postgres did not answer in time; whether the change was made is not known here."""


class Overloaded(Refusal):
    """More calls are waiting than can be served in time; nothing was done."""
