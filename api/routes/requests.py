"""The waiting line, explained: who waits since when for what, and who has it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api.auth import audit_log
from api.auth.principals import Locker, Principal, ReaderOrLocker
from api.http import openapi_responses, traceparent
from api.http.paths import BASE
from api.schemas.input import ForceQuery, LimitQuery
from api.schemas.lock_requests import RequestOut
from api.services import Provided, Services
from domain import requests
from domain.errors import NotLockHolder, RequestEnded, RequestNotFound
from domain.requests import Cancelled, Viewer

router = APIRouter(prefix=f"{BASE}/lock_requests", tags=["waiting line"])


@router.get("/", summary="List the requests in line, the next one first", responses=openapi_responses.describe())
@router.get("", include_in_schema=False)
async def find(query: Annotated[LimitQuery, Query()], services: Provided, caller: ReaderOrLocker) -> list[RequestOut]:
    found = await services.database.run(requests.find, viewer=_viewer(caller), limit=query.limit)
    return [RequestOut.of(queued) for queued in found]


@router.get(
    "/{request_id}",
    summary="Get a request: its position, matching users and their holders",
    responses=openapi_responses.describe(RequestNotFound),
)
async def explain(request_id: UUID, services: Provided, caller: ReaderOrLocker) -> RequestOut:
    queued = await services.database.run(requests.explain, request_id=request_id, viewer=_viewer(caller))
    return RequestOut.of(queued)


@router.delete(
    "/{request_id}",
    status_code=204,
    summary="Cancel a waiting request, or release what it was granted",
    description=(
        "A request that waits leaves the line: one's own, or as an admin anybody's. The locks of a granted one end as"
        " by a release if it is one's own; another principal's end by `force` only, with a `reason`, by an admin. Users"
        " outside the caller's projects stay locked. A granted request stays known as ended for a day: to acquire with"
        " its id or to end it again is 409 `request-ended`."
    ),
    responses=openapi_responses.describe(RequestNotFound, RequestEnded, NotLockHolder),
)
async def cancel(
    request_id: UUID, query: Annotated[ForceQuery, Query()], services: Provided, caller: Locker
) -> Response:
    if query.force:
        caller.demand("admin")
    ended = await services.database.run(
        requests.cancel,
        request_id=request_id,
        viewer=Viewer(caller.name, own_only=not caller.may("admin"), projects=caller.projects),
        force_reason=query.reason,
        traceparent=traceparent.current(),
    )
    services.commits.committed(ended.released)
    services.dispatcher.cancelled(ended.key)
    _audit(services, ended, caller=caller, reason=query.reason)
    return Response(status_code=204)


def _audit(services: Services, ended: Cancelled, *, caller: Principal, reason: str | None) -> None:
    """An act of an administrator: what another principal waited for, or what was ended by force."""
    of, request_id = ended.key
    if reason is None and of == caller.name:
        return
    what = "request.force" if ended.released else "request.cancel"
    users = [str(released.user.id) for released in ended.released]
    audit_log.note(
        services.metrics, who=caller.name, what=what, on=request_id, reason=reason, principal=of, users=users
    )


def _viewer(caller: Principal) -> Viewer:
    """Who may read sees what others wait for; who may only lock, its own requests."""
    return Viewer(caller.name, own_only=not caller.may("read"), projects=caller.projects)
