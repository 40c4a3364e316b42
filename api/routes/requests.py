"""The waiting line, explained: who waits since when for what, and who has it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api import responses
from api.inputs import LimitQuery
from api.outputs import RequestOut
from api.paths import BASE
from api.principals import Caller
from api.services import Provided
from domain import requests
from domain.errors import RequestNotFound
from domain.requests import Cancel

router = APIRouter(prefix=f"{BASE}/lock_requests", tags=["waiting line"])


@router.get("/", summary="The requests in line, the next one first", responses=responses.describe())
@router.get("", include_in_schema=False)
async def find(query: Annotated[LimitQuery, Query()], services: Provided, caller: Caller) -> list[RequestOut]:
    found = await services.database.run(requests.find, principal=caller.sees_only, limit=query.limit)
    return [RequestOut.of(queued) for queued in found]


@router.get(
    "/{request_id}",
    summary="One request: its place, how many users match, and who holds them until when",
    responses=responses.describe(RequestNotFound),
)
async def explain(request_id: UUID, services: Provided, caller: Caller) -> RequestOut:
    queued = await services.database.run(requests.explain, request_id=request_id, principal=caller.sees_only)
    return RequestOut.of(queued)


@router.delete(
    "/{request_id}",
    status_code=204,
    summary="Cancel a request; what it was granted is released",
    responses=responses.describe(RequestNotFound),
)
async def cancel(request_id: UUID, services: Provided, caller: Caller) -> Response:
    key = caller.name, request_id
    await services.requests.submit(Cancel(key))
    services.dispatcher.cancelled(key)
    return Response(status_code=204)
