"""Builds the responses of lock calls; the only place where passwords are decrypted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from api.execution.group_commit import Outcome
from api.schemas.locks import AcquiredOut
from api.schemas.pools import HeldOut, LeaseOut, LostOut, PoolOut, ReleasedManyOut, RenewedManyOut
from api.services import Services
from domain import log
from domain.errors import LeaseLost, LifetimeExceeded, SealBroken, UserNotFound
from domain.locks import Grant, Release, Released, Renew, Renewal
from domain.requests import Ask, Granted

log_ = log.get(__name__)


def of_request(services: Services, granted: Granted, *, ask: Ask) -> PoolOut:
    """The users of a granted request, with their passwords. Raises SealBroken."""
    users = [of_grant(services, grant) for grant in granted.grants]
    lost = [_lost(loss, lease_id=ask.lease_for(loss.user_id)) for loss in granted.lost]
    return PoolOut(request_id=granted.request_id, users=users, lost=lost, server_time=users[0].server_time)


def of_grant(services: Services, grant: Grant) -> AcquiredOut:
    """One granted lock, with the user's password. Raises SealBroken."""
    sealed, user = grant.password_sealed, grant.user
    try:
        password = None if sealed is None else services.ring.unseal(sealed, user_id=user.id)
    except SealBroken:
        services.metrics.unreadable()
        log_.critical("password_unreadable", user_id=str(user.id))
        raise
    return AcquiredOut.of(user, lease_id=grant.lease_id, password=password, server_time=user.seen_at)


def renewed(requests: Sequence[Renew], outcomes: Sequence[Outcome], *, server_time: datetime) -> RenewedManyOut:
    """In the order given; raises what is no outcome of a lease, such as DatabaseUnavailable."""
    held, lost = _sorted(requests, outcomes, kind=Renewal)
    return RenewedManyOut(
        renewed=[
            HeldOut(user_id=user.id, lease_id=lease_id, expires_at=user.lock.expires_at) for user, lease_id in held
        ],
        lost=lost,
        server_time=server_time,
    )


def released(requests: Sequence[Release], outcomes: Sequence[Outcome], *, server_time: datetime) -> ReleasedManyOut:
    """In the order given; raises what is no outcome of a lease, such as DatabaseUnavailable."""
    held, lost = _sorted(requests, outcomes, kind=Released)
    return ReleasedManyOut(
        released=[LeaseOut(user_id=user.id, lease_id=lease_id) for user, lease_id in held],
        lost=lost,
        server_time=server_time,
    )


def seen_at(outcomes: Sequence[Outcome]) -> datetime | None:
    """The moment at which a list was judged; None when nothing of it is known."""
    return next((outcome.user.seen_at for outcome in outcomes if isinstance(outcome, Renewal | Released)), None)


def _sorted(
    requests: Sequence[Renew | Release], outcomes: Sequence[Outcome], *, kind: type[Renewal | Released]
) -> tuple[list[tuple[Any, UUID]], list[LostOut]]:
    held, lost = [], []
    for request, outcome in zip(requests, outcomes, strict=True):
        assert request.lease_id is not None, "lists name their leases"
        if isinstance(outcome, kind):
            held.append((outcome.user, request.lease_id))
        else:
            lost.append(_lost(_as_loss(outcome), lease_id=request.lease_id))
    return held, lost


def _as_loss(outcome: Outcome) -> LeaseLost | LifetimeExceeded:
    """A user that is unknown or foreign is lost like a lease that never was."""
    if isinstance(outcome, UserNotFound):
        return LeaseLost(outcome.user_id, "unknown", None, None)
    if isinstance(outcome, LeaseLost | LifetimeExceeded):
        return outcome
    raise outcome


def _lost(loss: LeaseLost | LifetimeExceeded, *, lease_id: UUID) -> LostOut:
    if isinstance(loss, LifetimeExceeded):
        return LostOut(user_id=loss.user_id, lease_id=lease_id, reason="lifetime-exceeded", ended_at=None)
    return LostOut(user_id=loss.user_id, lease_id=lease_id, reason=loss.reason, ended_at=loss.ended_at)
