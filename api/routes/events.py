"""The feed of events over HTTP: in pages, and as a stream."""

import time
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from api.auth.principals import Listener, Principal
from api.events import sse_response
from api.events.sse_frames import CURSOR_TYPE
from api.http import openapi_responses, pagination
from api.http.paths import BASE
from api.schemas.events import EventsQuery, StreamQuery
from api.services import Provided, Services
from domain.errors import CursorMalformed, CursorTooOld, CursorUnknown
from domain.events import feed
from domain.events.cursors import Cursor
from domain.events.feed import Filter

MEDIA_TYPE = "application/cloudevents-batch+json"
FEED: openapi_responses.Responses = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "array", "items": {"type": "object"}}}}}
}
STREAM: openapi_responses.Responses = {
    200: {
        "description": "`id` is the cursor, `event` the type and `data` the CloudEvent, on one line. "
        f"A block of the type `{CURSOR_TYPE}` has no data: its id says how far was looked without a match, and "
        "EventSource remembers it by itself. A client that reads too slowly is hung up on, and may go on after its "
        "last id.",
        "content": {sse_response.MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}
REFUSALS = (CursorMalformed, CursorTooOld, CursorUnknown)

router = APIRouter(prefix=f"{BASE}/events", tags=["events"])


@router.get(
    "",
    summary="List events in order, after a cursor",
    response_class=Response,
    responses=FEED | openapi_responses.describe(*REFUSALS),
)
@router.get("/", include_in_schema=False)
async def read(
    query: Annotated[EventsQuery, Query()], request: Request, services: Provided, caller: Listener
) -> Response:
    page = await _page(services, query, caller=caller)
    headers = {
        "X-Cursor": str(page.looked),
        "X-Caught-Up": "true" if page.caught_up else "false",
        "Link": pagination.link(request, after=page.looked),
    }
    body = f"[{','.join(map(feed.as_json, page.events))}]"
    return Response(body, media_type=MEDIA_TYPE, headers=headers)


@router.get(
    "/stream",
    summary="Stream events as Server-Sent Events",
    response_class=Response,
    responses=STREAM | openapi_responses.describe(*REFUSALS),
)
@router.get("/stream/", include_in_schema=False)
async def stream(
    query: Annotated[StreamQuery, Query()],
    services: Provided,
    caller: Listener,
    last_event_id: Annotated[
        str | None, Header(description="Where a client that comes back goes on: it goes before `after`")
    ] = None,
) -> Response:
    after = str(Cursor.parse(last_event_id)) if last_event_id else query.after
    watch = partial(services.identities.watch, caller)
    return await services.streams.open(after=after, by=_by(query, caller), watch=watch)


def _by(query: StreamQuery, caller: Principal) -> Filter:
    if query.project_id is not None:
        caller.demand_project(query.project_id)
    return replace(query.by, projects=caller.projects)


async def _page(services: Services, query: EventsQuery, *, caller: Principal) -> feed.Page:
    """The page, waiting for a first event as long as was asked for. Nothing is held open between two looks.

    A filtered look goes only so far: without a match and without time left the page is empty and not caught up.
    """
    deadline = time.monotonic() + query.wait_seconds
    after, by = query.after, _by(query, caller)
    while True:
        page = await services.database.run(feed.read, after=after, limit=query.limit, by=by)
        left_seconds = deadline - time.monotonic()
        if page.events or left_seconds <= 0 or services.stopping.is_set():
            await services.identities.confirm(caller)
            return page
        after = str(page.looked)
        if page.caught_up:
            await services.streams.tailer.news(by, after=page.looked, seconds=left_seconds)
