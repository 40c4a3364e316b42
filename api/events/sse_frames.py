"""Events in the form of Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from dataclasses import dataclass

from sqlalchemy import Connection
from sse_starlette import ServerSentEvent

from domain.events import feed
from domain.events.cursors import Cursor
from domain.events.feed import Event, Filter

CURSOR_TYPE = "botfarm.cursor"
RETRY_MS = 2_000


@dataclass(frozen=True, slots=True)
class Frames:
    """A page of the feed as bytes; `looked` is where the next one begins."""

    body: bytes
    count: int
    looked: Cursor
    caught_up: bool


def of_event(event: Event) -> bytes:
    return ServerSentEvent(feed.as_json(event), event=event.type, id=str(event.cursor), sep="\n").encode()


def of_cursor(cursor: Cursor) -> bytes:
    """How far was looked without a match.

    It has an id and no data: by the standard EventSource then remembers the id and dispatches nothing.
    """
    return ServerSentEvent(event=CURSOR_TYPE, id=str(cursor), sep="\n").encode()


def read(conn: Connection, *, after: str | None, limit: int, by: Filter) -> Frames:
    """One page. Raises CursorMalformed, CursorTooOld and CursorUnknown."""
    page = feed.read(conn, after=after, limit=limit, by=by)
    body = b"".join(of_event(event) for event in page.events)
    if not page.events or page.events[-1].cursor != page.looked:
        body += of_cursor(page.looked)
    return Frames(body, len(page.events), page.looked, page.caught_up)


RETRY = ServerSentEvent(retry=RETRY_MS, sep="\n").encode()
KEEP_ALIVE = ServerSentEvent(comment="keep-alive", sep="\n").encode()
