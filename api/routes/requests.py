"""The waiting line, explained: who waits since when for what, and who has it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api import responses
from api.inputs import LimitQuery
from api.outputs import RequestOut
from api.paths import BASE
from api.principals import Locker, Principal, ReaderOrLocker
from api.services import Provided
from domain import requests
from domain.errors import RequestNotFound
from domain.requests import Cancel, Viewer

router = APIRouter(prefix=f"{BASE}/lock_requests", tags=["waiting line"])


@router.get("/", summary="The requests in line, the next one first", responses=responses.describe())
@router.get("", include_in_schema=False)
async def find(query: Annotated[LimitQuery, Query()], services: Provided, caller: ReaderOrLocker) -> list[RequestOut]:
    found = await services.database.run(requests.find, viewer=_viewer(caller), limit=query.limit)
    return [RequestOut.of(queued) for queued in found]


@router.get(
    "/{request_id}",
    summary="One request: its place, how many users match, and who holds them until when",
    responses=responses.describe(RequestNotFound),
)
async def explain(request_id: UUID, services: Provided, caller: ReaderOrLocker) -> RequestOut:
    queued = await services.database.run(requests.explain, request_id=request_id, viewer=_viewer(caller))
    return RequestOut.of(queued)


@router.delete(
    "/{request_id}",
    status_code=204,
    summary="Cancel a request of one's own, or as an admin anybody's; what it was granted is released",
    responses=responses.describe(RequestNotFound),
)
async def cancel(request_id: UUID, services: Provided, caller: Locker) -> Response:
    key = caller.name, request_id
    if caller.may("admin"):
        seen = await services.database.run(requests.explain, request_id=request_id, viewer=_viewer(caller))
        key = seen.principal, request_id
    await services.requests.submit(Cancel(key))
    services.dispatcher.cancelled(key)
    return Response(status_code=204)


def _viewer(caller: Principal) -> Viewer:
    """Who may read sees what others wait for; who may only lock, its own requests."""
    return Viewer(caller.name, own_only=not caller.may("read"), projects=caller.projects)
