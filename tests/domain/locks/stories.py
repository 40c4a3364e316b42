"""The checker of races: whether the events of one user can be true, judged by the database's times in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from tests.domain.farms import Noted


class Broken(AssertionError):  # noqa: N818  -- a verdict on a story, not an error of ours
    """A story that no lawful lock can have."""


@dataclass
class Lease:
    lease_id: UUID | None
    token: int
    ends_at: datetime


def check(noted: Sequence[Noted]) -> None:
    """Raises Broken unless versions count without a gap, tokens grow and leases never overlap."""
    held: Lease | None = None
    free_since: datetime | None = None
    last_token = 0
    for version, event in enumerate(noted, start=1):
        _require(event.lock_version == version, event, "a version is missing or comes twice")
        match event.type.split(".")[2]:
            case "acquired":
                began = datetime.fromisoformat(event.data["locktime"])
                _require(held is None, event, "granted while held")
                _require(free_since is None or began >= free_since, event, "leases overlap")
                _require(event.data["token"] == version > last_token, event, "the token does not grow")
                last_token = version
                held = Lease(event.lease_id, version, _end(event))
            case "renewed":
                lease = _held(held, event)
                _require(event.occurred_at < lease.ends_at, event, "renewed after its end")
                lease.ends_at = _end(event)
            case "released":
                _require(event.occurred_at < _held(held, event).ends_at, event, "released after its end")
                held, free_since = None, event.occurred_at
            case "expired":
                lease = _held(held, event)
                _require(event.occurred_at >= lease.ends_at, event, "expired before its end")
                held, free_since = None, lease.ends_at


def _held(lease: Lease | None, event: Noted) -> Lease:
    if lease is None:
        raise Broken(f"nothing was held: {event}")
    _require(event.lease_id == lease.lease_id, event, "another lease was held")
    _require(event.data["token"] == lease.token, event, "another token was held")
    return lease


def _end(event: Noted) -> datetime:
    return datetime.fromisoformat(event.data["expires_at"])


def _require(holds: bool, event: Noted, law: str) -> None:  # noqa: FBT001  -- it reads as assert does
    if not holds:
        raise Broken(f"{law}: {event}")
