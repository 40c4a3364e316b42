"""Acquiring, renewing, releasing and looking at the lock of one user."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.auth import audit_log
from api.auth.principals import Locker, Reader
from api.http import openapi_responses, random_ids, traceparent
from api.http.paths import BASE
from api.locking import acquiring, cached_reads
from api.middleware import fast_routes
from api.schemas.locks import (
    AcquiredOut,
    AcquireIn,
    LockQuery,
    LockStateOut,
    ReleasedOut,
    ReleaseIn,
    RenewedOut,
    RenewIn,
)
from api.services import Provided
from domain.errors import (
    CoolingDown,
    LeaseLost,
    LifetimeExceeded,
    LineAhead,
    LineFull,
    LockHeld,
    NotLockHolder,
    RequestNotFound,
    SealBroken,
    TooManyLocks,
    UserNotFound,
    UserQuarantined,
)
from domain.locks import Acquire, Release, Renew

ANY_ACQUIRE, ANY_RELEASE = AcquireIn(), ReleaseIn()  # what an empty body says; made once

router = APIRouter(prefix=BASE + "/users/{user_id}", tags=["locks"])


@router.post(
    "/acquire_lock",
    summary="Acquire the lock of a user",
    responses=openapi_responses.describe(
        UserNotFound,
        LockHeld,
        UserQuarantined,
        CoolingDown,
        LineAhead,
        LeaseLost,
        RequestNotFound,
        LineFull,
        SealBroken,
        TooManyLocks,
    ),
)
@fast_routes.route
async def acquire(
    user_id: UUID,
    request: Request,
    services: Provided,
    caller: Locker,
    response: Response,
    body: AcquireIn | None = None,
) -> AcquiredOut:
    wish = body or ANY_ACQUIRE
    wanted = Acquire(
        user_id=user_id,
        lease_id=wish.lease_id or random_ids.new(),
        principal=caller.name,
        owner=wish.owner or caller.name,
        ttl=services.policy.ttl_for(wish.ttl_seconds),
        metadata=wish.metadata,
        cooldown=services.policy.cooldown,
        projects=caller.projects,
        traceparent=traceparent.current(),
        limited=caller.locks_most is not None,
    )
    response.headers["Cache-Control"] = "no-store"
    return await acquiring.acquire(
        services,
        wanted,
        wait_seconds=wish.wait_seconds,
        priority=wish.priority,
        chosen=wish.lease_id is not None,
        request=request,
    )


@router.post(
    "/renew_lock",
    summary="Renew the lock of a user",
    responses=openapi_responses.describe(UserNotFound, LeaseLost, LifetimeExceeded),
)
@fast_routes.route
async def renew(user_id: UUID, body: RenewIn, services: Provided, caller: Locker) -> RenewedOut:
    request = Renew(
        user_id=user_id,
        lease_id=body.lease_id,
        principal=caller.name,
        ttl=services.policy.ttl_for(body.ttl_seconds),
        cooldown=services.policy.cooldown,
        lifetime_max=services.policy.lifetime_max,
        projects=caller.projects,
        traceparent=traceparent.current(),
    )
    renewal = await services.commits.submit(request)
    return RenewedOut.of(renewal.user, lease_id=renewal.lease_id, server_time=renewal.user.seen_at)


@router.post(
    "/release_lock",
    summary="Release the lock of a user",
    responses=openapi_responses.describe(UserNotFound, LeaseLost, NotLockHolder),
)
@fast_routes.route
async def release(user_id: UUID, services: Provided, caller: Locker, body: ReleaseIn | None = None) -> ReleasedOut:
    wish = body or ANY_RELEASE
    if wish.force:
        caller.demand("admin")
    request = Release(
        user_id=user_id,
        principal=caller.name,
        lease_id=wish.lease_id,
        reason="forced" if wish.force else "holder",
        note=wish.reason,
        projects=caller.projects,
        traceparent=traceparent.current(),
    )
    outcome = await services.commits.submit(request)
    if wish.force:
        audit_log.note(services.metrics, who=caller.name, what="lock.force", on=user_id, reason=wish.reason)
    return ReleasedOut.of(outcome.user, released=outcome.released)


@router.get(
    "/lock",
    summary="Get the lock of a user",
    response_model_exclude_unset=True,
    responses=openapi_responses.describe(UserNotFound),
)
async def look(
    user_id: UUID, query: Annotated[LockQuery, Query()], services: Provided, caller: Reader, response: Response
) -> LockStateOut:
    state, source = await cached_reads.read(services, user_id=user_id, query=query, projects=caller.projects)
    response.headers["X-Cache"] = source
    return state
