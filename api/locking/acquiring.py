"""Asking for users and, if need be, waiting in line for them: what an acquire call does."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from api.auth.principals import SCOPE_KEY
from api.execution.group_commit import GroupCommit
from api.execution.waiting_calls import Waiter
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
    Unauthenticated,
)
from domain.locks import Acquire, Grant
from domain.requests import Ask, Claim, Detach, Enqueue, Granted

WORTH_WAITING = (LockHeld, CoolingDown, LineAhead)


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who waits: done is `hung_up` when its connection is closed, and `barred` when its key is no longer in force."""

    hung_up: "asyncio.Task[None]"
    barred: "asyncio.Future[None]"

    @property
    def gone(self) -> bool:
        return self.hung_up.done() or self.barred.done()


async def take(services: Services, ask: Ask, *, wait_seconds: int, chosen: bool, request: Request) -> Granted:
    """Any users that match, at once or within `wait_seconds`. `chosen` says that the caller chose the request id.

    Raises the refusals of `requests.take` and `requests.enqueue`; Unauthenticated for a key that ends meanwhile.
    """
    if wait_seconds > 0:
        return await _stand_in_line(services, ask, wait_seconds=wait_seconds, request=request)
    granted: Granted = await services.requests.submit(ask, undo=not chosen)
    return granted


async def acquire(
    services: Services, wish: Acquire, *, wait_seconds: int, priority: int, chosen: bool, request: Request
) -> Grant:
    """The lock of one user, at once or within `wait_seconds`.

    Raises the refusals of `locks.acquire`; Unauthenticated for a key that ends while its caller waits.
    """
    try:
        grant: Grant = await _lane(services, wish).submit(wish, undo=not chosen)
    except WORTH_WAITING as refusal:
        if wait_seconds == 0:
            raise
        ask = _as_ask(wish, priority=priority)
        try:
            granted = await _stand_in_line(services, ask, wait_seconds=wait_seconds, request=request)
        except NoUserFree as late:
            refusal.place = errors.Place(late.request_id, late.position)
            raise refusal from None
        return granted.grants[0]
    return await _claimed(services, wish, grant) if grant.again else grant


async def _claimed(services: Services, wish: Acquire, grant: Grant) -> Grant:
    """A grant that is asked for again is its caller's, even if the call that waited for it has hung up meanwhile.

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
    waiter = dispatcher.attend(ask.key)
    with _watching(services, request) as caller:
        try:
            outcome = await services.requests.submit(Enqueue(ask, dispatcher.home))
            if not isinstance(outcome, Granted):
                waiter.joined = True
                services.hints.tell_everybody()
                dispatcher.wake()
                ends: set[asyncio.Future[Any]] = {waiter.granted, caller.hung_up, caller.barred}
                await asyncio.wait(ends, timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED)
        except BaseException as failure:
            if isinstance(failure, Refusal) and not isinstance(failure, DatabaseUnavailable):
                dispatcher.forget(ask.key, waiter)
            else:  # cancelled, or no answer from the database: the request may be in line all the same
                services.background.start(_leave(services, ask, waiter, gone=True))
            raise
        gone, barred = caller.gone, caller.barred.done()
    if isinstance(outcome, Granted):
        dispatcher.forget(ask.key, waiter)
        return outcome
    if barred:
        await _give_up(services, ask, waiter)
        raise Unauthenticated
    granted = waiter.outcome()
    if granted is None or gone:
        return await _leave(services, ask, waiter, gone=gone)
    dispatcher.forget(ask.key, waiter)
    return granted


@contextlib.contextmanager
def _watching(services: Services, request: Request) -> Iterator[_Caller]:
    caller = _Caller(asyncio.ensure_future(_hang_up(request)), asyncio.get_running_loop().create_future())
    unwatch = services.identities.watch(request.scope[SCOPE_KEY], caller.barred.cancel)
    try:
        yield caller
    finally:
        unwatch()
        caller.hung_up.cancel()


async def _give_up(services: Services, ask: Ask, waiter: Waiter) -> None:
    """Leave for good: the place in line is not kept, and a grant of the last moment is taken back."""
    with contextlib.suppress(Refusal):  # whatever has become of the request, it is no longer its caller's business
        await _leave(services, ask, waiter, gone=True, for_good=True)
    services.dispatcher.wake()  # what was kept for it is free


async def _leave(services: Services, ask: Ask, waiter: Waiter, *, gone: bool, for_good: bool = False) -> Granted:
    """Stop waiting, unless another call here waits for the same. A grant of the last moment is had, or taken back."""
    dispatcher = services.dispatcher
    try:
        last = dispatcher.depart(ask.key, waiter)
        if not last and (gone or not waiter.granted.done()):
            raise NoUserFree(ask.request_id, 1, 1.0)
        detach = Detach(ask, dispatcher.home, gone=gone and not waiter.shared, for_good=for_good and not waiter.shared)
        late: Granted = await services.requests.submit(detach)
    except (DatabaseUnavailable, Overloaded):
        granted = waiter.outcome()
        if granted is not None:  # and not when the request left the line elsewhere: then the grant is not this call's
            dispatcher.unclaimed(ask.key, granted)
        raise
    finally:
        dispatcher.forget(ask.key, waiter)
    return late


async def _hang_up(request: Request) -> None:
    """Returns when the caller's connection is closed."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


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
