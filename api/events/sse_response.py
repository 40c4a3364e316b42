"""An open event stream: what the feed holds after a cursor, and then whatever comes, as Server-Sent Events.

Plain ASGI, two small tasks a client: with a thousand clients every further layer is felt. No database connection is
held: pages are read through the API's pool, only a few at a time over all streams, and new events come from the tailer.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Response
from starlette.types import Message, Receive, Scope, Send

from api.events import sse_frames
from api.events.sse_frames import Frames
from api.events.subscriptions import Subscription
from api.events.tailer import KEEP_ALIVE_SECONDS, Tailer
from api.execution.database_threads import Database
from api.http.disconnects import disconnected
from api.observability.stream_metrics import StreamFigures
from domain import log
from domain.errors import DatabaseUnavailable, Overloaded, Refusal
from domain.events.cursors import Cursor
from domain.events.feed import Filter

MEDIA_TYPE = "text/event-stream"
PAGE = 500
READS_MOST = 4  # by all streams at once: catching up must leave the pool to the others
AGAIN_SECONDS = 0.5
FAREWELL_SECONDS = 1.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Watch = Callable[[Callable[[], object]], Callable[[], None]]

log_ = log.get(__name__)


@dataclass
class Streams:
    """What all event streams of a process share."""

    database: Database
    tailer: Tailer
    figures: StreamFigures
    _reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READS_MOST))

    async def page(self, *, after: str | None, by: Filter) -> Frames:
        """Raises CursorMalformed, CursorTooOld and CursorUnknown."""
        async with self._reads:
            return await self.database.run(sse_frames.read, after=after, limit=PAGE, by=by)

    async def open(self, *, after: str | None, by: Filter, watch: Watch) -> "EventStream":
        """A stream whose cursor is good, with its first page. Raises what `page` raises."""
        return EventStream(self, by, await self.page(after=after, by=by), watch)


class EventStream(Response):
    """Begins with a page and ends with the client, its key or the process, or when the client reads too slowly.

    `watch` has a function called when the key is no longer in force, and gives one that calls that off.
    """

    def __init__(self, streams: Streams, by: Filter, first: Frames, watch: Watch) -> None:
        super().__init__(headers=HEADERS, media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self._streams = streams
        self._by = by
        self._first = first
        self._watch = watch

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        tailer, figures = self._streams.tailer, self._streams.figures
        subscription = tailer.attend()
        unwatch = self._watch(subscription.end)
        writing = asyncio.ensure_future(self._write(send, subscription))
        gone = asyncio.ensure_future(disconnected(receive))
        figures.open.inc()
        try:
            ends: set[asyncio.Future[None]] = {writing, gone, subscription.ended}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():  # a writer that a client has brought to a halt need not come to its end
                await asyncio.wait({writing, gone}, timeout=FAREWELL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            figures.open.dec()
            unwatch()
            tailer.leave(subscription)
            gone.cancel()
            writing.cancel()
        if subscription.overrun:
            figures.dropped.inc()
            log_.warning("event_stream_dropped", seq=subscription.queued_seq)
        if writing.done() and not writing.cancelled():
            writing.result()

    async def _write(self, send: Send, subscription: Subscription) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send(_body(sse_frames.RETRY))
        if await self._catch_up(send, subscription):
            while not subscription.ended.done():
                await subscription.wait()
                if body := subscription.take():
                    await send(_body(body))
        await send(_body(b"", more=False))

    async def _catch_up(self, send: Send, subscription: Subscription) -> bool:
        """Send pages until the rest will come by the subscription; False when that cannot be."""
        page: Frames | None = self._first
        until: Cursor | None = None
        joined = False
        while page is not None:
            if joined:
                subscription.skip_to(page.looked.seq)
            elif page.caught_up:
                until = self._streams.tailer.join(subscription, self._by, after=page.looked)
                joined = True
            self._streams.figures.sent.inc(page.count)
            await send(_body(page.body))
            if joined and (until is None or page.looked.seq >= until.seq):
                return True
            page = await self._next(page.looked, send, subscription)
        return False

    async def _next(self, looked: Cursor, send: Send, subscription: Subscription) -> Frames | None:
        """The next page, however long Postgres is away; None when the stream ends."""
        spoke_at = time.monotonic()
        while not subscription.ended.done():
            try:
                return await self._streams.page(after=str(looked), by=self._by)
            except (DatabaseUnavailable, Overloaded):
                await asyncio.wait({subscription.ended}, timeout=AGAIN_SECONDS)
                if time.monotonic() - spoke_at > KEEP_ALIVE_SECONDS:
                    await send(_body(sse_frames.KEEP_ALIVE))
                    spoke_at = time.monotonic()
            except Refusal:
                return None  # the client learns why when it comes back
        return None


def _body(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
