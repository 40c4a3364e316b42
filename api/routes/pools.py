"""Many at once: any users that match, and all leases of a job in one call."""

from collections.abc import Sequence
from datetime import datetime

from fastapi import APIRouter, Request, Response

from api.auth.principals import Locker
from api.execution.group_commit import Outcome
from api.http import openapi_responses, random_ids, traceparent
from api.http.paths import BASE
from api.locking import acquiring, lock_answers
from api.middleware import fast_routes
from api.schemas.pools import PoolIn, PoolOut, ReleasedManyOut, ReleaseManyIn, RenewedManyOut, RenewManyIn
from api.services import Provided, Services
from domain import locks
from domain.errors import (
    LineFull,
    NoMatchingUser,
    NoUserFree,
    RequestEnded,
    RequestIdReused,
    RequestNotFound,
    SealBroken,
    TooManyLocks,
)
from domain.locks import Release, Renew
from domain.postgres import clocks
from domain.requests import Ask

router = APIRouter(prefix=f"{BASE}/users", tags=["pools"])


@router.post(
    "/acquire_lock",
    summary="Acquire any users that match, all or none",
    responses=openapi_responses.describe(
        NoUserFree, NoMatchingUser, RequestEnded, RequestIdReused, RequestNotFound, LineFull, SealBroken, TooManyLocks
    ),
)
@fast_routes.route
async def acquire(
    request: Request, services: Provided, caller: Locker, response: Response, body: PoolIn | None = None
) -> PoolOut:
    wish = body or PoolIn()
    if wish.project_id is not None:
        caller.demand_project(wish.project_id)
    ask = Ask(
        request_id=wish.request_id or random_ids.new(),
        principal=caller.name,
        owner=wish.owner or caller.name,
        ttl=services.policy.ttl_for(wish.ttl_seconds),
        count=wish.count,
        project_id=wish.project_id,
        env=wish.env,
        domain=wish.domain,
        labels=wish.labels,
        metadata=wish.metadata,
        cooldown=services.policy.cooldown,
        priority=wish.priority,
        projects=caller.projects,
        traceparent=traceparent.current(),
        limited=caller.locks_most is not None,
    )
    response.headers["Cache-Control"] = "no-store"
    return await acquiring.take(
        services, ask, wait_seconds=wish.wait_seconds, chosen=wish.request_id is not None, request=request
    )


@router.post(
    "/renew_lock",
    summary="Renew many leases in one call",
    responses=openapi_responses.describe(),
)
@fast_routes.route
async def renew(body: RenewManyIn, services: Provided, caller: Locker) -> RenewedManyOut:
    requests = [
        Renew(
            user_id=lease.user_id,
            lease_id=lease.lease_id,
            principal=caller.name,
            ttl=services.policy.ttl_for(body.ttl_seconds),
            cooldown=services.policy.cooldown,
            lifetime_max=services.policy.lifetime_max,
            projects=caller.projects,
            traceparent=traceparent.current(),
        )
        for lease in body.leases
    ]
    outcomes = await services.commits.submit_all(requests)
    server_time = await _server_time(services, outcomes)
    return lock_answers.renewed(requests, outcomes, server_time=server_time)


@router.post(
    "/release_lock",
    summary="Release many users, by lease or by owner",
    responses=openapi_responses.describe(),
)
@fast_routes.route
async def release(body: ReleaseManyIn, services: Provided, caller: Locker) -> ReleasedManyOut:
    if body.leases is None:
        owned = await services.database.run(
            locks.owned, principal=caller.name, owner=str(body.owner), projects=caller.projects
        )
    else:
        owned = [(lease.user_id, lease.lease_id) for lease in body.leases]
    requests = [
        Release(user_id, caller.name, lease_id, projects=caller.projects, traceparent=traceparent.current())
        for user_id, lease_id in owned
    ]
    outcomes = await services.commits.submit_all(requests) if requests else []
    server_time = await _server_time(services, outcomes)
    return lock_answers.released(requests, outcomes, server_time=server_time)


async def _server_time(services: Services, outcomes: Sequence[Outcome]) -> datetime:
    """When the list was judged; when nothing of it is known, now."""
    judged_at = lock_answers.seen_at(outcomes)
    return await services.database.run(clocks.now) if judged_at is None else judged_at
