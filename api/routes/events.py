"""The feed of events over HTTP."""

import asyncio
import json
import time
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from api import responses
from api.inputs import EventsQuery
from api.paths import BASE
from api.services import Provided, Services
from domain import events
from domain.errors import CursorMalformed, CursorTooOld, CursorUnknown

MEDIA_TYPE = "application/cloudevents-batch+json"
FEED: responses.Responses = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "array", "items": {"type": "object"}}}}}}
POLL_SECONDS = 0.1

router = APIRouter(prefix=f"{BASE}/events", tags=["events"])


@router.get(
    "",
    summary="Events in order, after a cursor",
    response_class=Response,
    responses=FEED | responses.describe(CursorMalformed, CursorTooOld, CursorUnknown),
)
@router.get("/", include_in_schema=False)
async def read(query: Annotated[EventsQuery, Query()], request: Request, services: Provided) -> Response:
    page = await _page(services, query)
    parameters = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
    onward = urlencode([*parameters, ("after", str(page.looked))])
    headers = {
        "X-Cursor": str(page.looked),
        "X-Caught-Up": "true" if page.caught_up else "false",
        "Link": f'<{request.url.path}?{onward}>; rel="next"',
    }
    body = json.dumps([events.cloudevent(event) for event in page.events], separators=(",", ":"))
    return Response(body, media_type=MEDIA_TYPE, headers=headers)


async def _page(services: Services, query: EventsQuery) -> events.Page:
    """The page, waiting for a first event as long as was asked for. Nothing is held open between two looks.

    A filtered look goes only so far: without a match and without time left the page is empty and not caught up.
    """
    by = events.Filter(query.type, query.user_id, query.project_id, query.env)
    deadline = time.monotonic() + query.wait_seconds
    after = query.after
    while True:
        page = await services.database.run(events.read, after=after, limit=query.limit, by=by)
        if page.events or time.monotonic() >= deadline or services.stopping.is_set():
            return page
        after = str(page.looked)
        if page.caught_up:
            await asyncio.sleep(POLL_SECONDS)
