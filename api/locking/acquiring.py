"""Acquiring users, at once or by waiting in line for them."""

import contextlib
from functools import partial

from starlette.requests import Request

from api.auth.principals import SCOPE_KEY
from api.execution.group_commit import GroupCommit
from api.execution.waiting_calls import Stop, WaitingCall
from api.http.disconnects import disconnected
from api.locking import lock_answers
from api.schemas.locks import AcquiredOut
from api.schemas.pools import PoolOut
from api.services import Services
from domain import errors
from domain.errors import (
    CoolingDown,
    DatabaseUnavailable,
    LineAhead,
    LockHeld,
    NoUserFree,
    Overloaded,
    Refusal,
    SealBroken,
    Unauthenticated,
)
from domain.locks import Acquire, Grant, Release
from domain.requests import Ask, Claim, Enqueue, Granted, Undo

WORTH_WAITING = (LockHeld, CoolingDown, LineAhead)


async def take(services: Services, ask: Ask, *, wait_seconds: int, chosen: bool, request: Request) -> PoolOut:
    """Acquire any users that match. A grant whose passwords cannot be decrypted is undone, unless it is a repeat.

    Raises the refusals of `serve`; SealBroken.
    """
    granted = await serve(services, ask, wait_seconds=wait_seconds, chosen=chosen, request=request)
    try:
        return lock_answers.of_request(services, granted, ask=ask)
    except SealBroken:
        if not granted.again:
            services.requests.undo(Undo(ask.key, granted_at=granted.granted_at))
        raise


async def serve(services: Services, ask: Ask, *, wait_seconds: int, chosen: bool, request: Request) -> Granted:
    """Any users that match, at once or within `wait_seconds`. `chosen` says that the caller chose the request id.

    Raises the refusals of `requests.take` and `requests.enqueue`; Unauthenticated for a key that ends meanwhile.
    """
    if wait_seconds > 0:
        return await _stand_in_line(services, ask, wait_seconds=wait_seconds, request=request)
    granted: Granted = await services.requests.submit(ask, undo=not chosen)
    return granted


async def acquire(
    services: Services, wish: Acquire, *, wait_seconds: int, priority: int, chosen: bool, request: Request
) -> AcquiredOut:
    """Acquire one user. A grant whose password cannot be decrypted is undone, unless it is a repeat.

    A repeated grant stays: its caller may be at work with the password it got before. Raises the refusals of
    `locks.acquire`; SealBroken; Unauthenticated for a key that ends while its caller waits.
    """
    grant = await _grant(services, wish, wait_seconds=wait_seconds, priority=priority, chosen=chosen, request=request)
    try:
        return lock_answers.of_grant(services, grant)
    except SealBroken:
        if not grant.again:
            services.commits.undo(Release(wish.user_id, wish.principal, grant.lease_id, reason="unclaimed"))
        raise


async def _grant(
    services: Services, wish: Acquire, *, wait_seconds: int, priority: int, chosen: bool, request: Request
) -> Grant:
    """The lock of one user, at once or within `wait_seconds`."""
    try:
        grant: Grant = await _lane(services, wish).submit(wish, undo=not chosen)
    except WORTH_WAITING as refusal:
        if wait_seconds == 0:
            raise
        ask = _as_ask(wish, priority=priority)
        try:
            granted = await _stand_in_line(services, ask, wait_seconds=wait_seconds, request=request)
        except NoUserFree as late:
            refusal.place = errors.LinePosition(late.request_id, late.position)
            raise refusal from None
        return granted.grants[0]
    return await _claimed(services, wish, grant) if grant.again else grant


async def _claimed(services: Services, wish: Acquire, grant: Grant) -> Grant:
    """A grant that is asked for again is its caller's, even if the call that waited for it was disconnected meanwhile.

    Raises LeaseLost when it was taken back before.
    """
    if not await services.requests.submit(Claim((wish.principal, wish.lease_id), wish.user_id)):
        grant = await _lane(services, wish).submit(wish)
    return grant


def _lane(services: Services, wish: Acquire) -> GroupCommit:
    """Counting locks first takes a transaction, which only the lane of requests has."""
    return services.requests if wish.limited else services.commits


async def _stand_in_line(services: Services, ask: Ask, *, wait_seconds: int, request: Request) -> Granted:
    """Join the line, wait, and leave with a grant or with the place that is kept. Nothing is held meanwhile."""
    dispatcher = services.dispatcher
    call = dispatcher.attend(ask)
    with call.watching(disconnected(request.receive), partial(services.identities.watch, request.scope[SCOPE_KEY])):
        try:
            outcome = await services.requests.submit(Enqueue(ask, dispatcher.home))
            if isinstance(outcome, Granted):
                dispatcher.forget(call)
                return outcome
            call.joined()
            services.hints.tell_everybody()
            dispatcher.wake()
            why = await call.wait(wait_seconds)
        except BaseException as failure:
            if isinstance(failure, Refusal) and not isinstance(failure, DatabaseUnavailable):
                dispatcher.forget(call)
            else:  # cancelled, or no answer from the database: the request may be in line all the same
                services.background.start(_leave(services, call, Stop.HUNG_UP))
            raise
    if why is Stop.KEY_ENDED:
        await _give_up(services, call)
        raise Unauthenticated
    if why is not None or call.grant is None:
        return await _leave(services, call, why or Stop.TIME_OVER)
    dispatcher.forget(call)
    return call.grant


async def _give_up(services: Services, call: WaitingCall) -> None:
    """Leave for good: the place in line is not kept, and a grant of the last moment is taken back."""
    with contextlib.suppress(Refusal):  # whatever becomes of the request, its caller is refused
        await _leave(services, call, Stop.KEY_ENDED)
    services.dispatcher.wake()  # what was kept for it is free


async def _leave(services: Services, call: WaitingCall, why: Stop) -> Granted:
    """Stop waiting, unless another call here waits for the same. A grant of the last moment is had, or taken back."""
    dispatcher = services.dispatcher
    try:
        last = dispatcher.depart(call, why)
        if not last and (why is not Stop.TIME_OVER or not call.resolved):
            raise NoUserFree(call.ask.request_id, 1, 1.0)
        late: Granted = await services.requests.submit(call.detach(home=dispatcher.home))
    except (DatabaseUnavailable, Overloaded):
        if (
            call.grant is not None
        ):  # and not when the request left the line elsewhere: then the grant is not this call's
            dispatcher.unclaimed(call.key, call.grant)
        raise
    finally:
        dispatcher.forget(call)
    return late


def _as_ask(wish: Acquire, *, priority: int) -> Ask:
    return Ask(
        request_id=wish.lease_id,
        principal=wish.principal,
        owner=wish.owner,
        ttl=wish.ttl,
        user_id=wish.user_id,
        metadata=wish.metadata,
        cooldown=wish.cooldown,
        priority=priority,
        projects=wish.projects,
        traceparent=wish.traceparent,
        limited=wish.limited,
    )
