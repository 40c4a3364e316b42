"""The tailer: one thread an API process that reads new events once and hands them to everybody who listens here.

It reads only while somebody does. What it has read it gives to the event loop and waits until the loop has passed it
on: a loop that is busy gets larger portions, not a growing pile. All that is remembered of the listeners belongs to
the loop.

# Joining without a gap or a repeat

Everybody comes from a page of the feed that was read up to some number. The tailer's own place may be before or
behind that. A listener is added first; if the tailer was ahead, the listener reads on from the database until it has
seen what the tailer had passed on before. From then on it leaves out what it has had, by number: `skip_to`.

# Rewound databases

When this history loses the tailer's place (see `worker/relay/relay.py`) every listener is disconnected. They come back
with the ids they have, and get the answer that fits: 409, or what follows.
"""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import ParamSpec

from sqlalchemy import Engine

from api.events import sse_frames
from api.events.subscriptions import ALWAYS, Chunk, Group, Groups, Piece, Subscription
from api.observability.stream_metrics import StreamFigures
from domain import log
from domain.errors import Refusal
from domain.events import feed
from domain.events.cursors import Cursor
from domain.events.feed import Event, Filter
from domain.postgres import engines

TICK_SECONDS = 0.05
BATCH = 500
FAILED_PAUSE_SECONDS = 0.5
PASSED_ON_SECONDS = 10.0
ROUND_SECONDS = 1.0
PROGRESS_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 15.0
QUEUE_MOST_BYTES = 1_048_576

log_ = log.get(__name__)

P = ParamSpec("P")
Framed = list[tuple[Event, bytes]]


class Tailer:
    """Call `start` and everything without a thread of its own on the event loop.

    Once `stopping` is set, all subscriptions end and new ones have ended already.
    """

    def __init__(self, engine: Engine, *, stopping: threading.Event, figures: StreamFigures) -> None:
        self._engine = engine
        self._stopping = stopping
        self._figures = figures
        self.queue_most_bytes = QUEUE_MOST_BYTES
        self._closing = threading.Event()
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tailer", daemon=True)
        # The loop's: who is here, who of them listens to what, and up to where that was passed on.
        self._present: set[Subscription] = set()
        self._joined: dict[Subscription, Filter] = {}
        self._groups = Groups()
        self._place: Cursor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rounds = self._loop.create_task(self._go_round())
        self._thread.start()

    def close(self) -> None:
        """Called off the event loop."""
        self._closing.set()
        self._wanted.set()
        self._thread.join(timeout=5)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._rounds.cancel)

    def attend(self) -> Subscription:
        """A subscription that ends with the process, and hears of nothing yet."""
        subscription = Subscription(most_bytes=self.queue_most_bytes)
        self._present.add(subscription)
        self._wanted.set()
        if self._stopping.is_set():
            subscription.end()
        return subscription

    def join(self, subscription: Subscription, by: Filter, *, after: Cursor) -> Cursor | None:
        """Let it hear of what comes after `after`, which is as far as the feed went a moment ago.

        The place up to which it must read by itself, when other listeners are already further; else None.
        """
        subscription.skip_to(after.seq)
        self._joined[subscription] = by
        self._groups.add(subscription, by)
        if self._place is None:
            self._place = after
        return self._place if self._place.seq > after.seq else None

    def leave(self, subscription: Subscription) -> None:
        self._present.discard(subscription)
        by = self._joined.pop(subscription, None)
        if by is not None:
            self._groups.discard(subscription, by)
        if not self._joined:
            self._place = None
        if not self._present:
            self._wanted.clear()

    async def news(self, by: Filter, *, after: Cursor, seconds: float) -> None:
        """Return when something that matches may have come after `after`, and at the latest in so many seconds."""
        subscription = self.attend()
        try:
            if self.join(subscription, by, after=after) is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(subscription.wait(), seconds)
        finally:
            self.leave(subscription)

    # The thread's part

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait()
            pause = TICK_SECONDS
            try:
                if self._stopping.is_set():
                    self._hand_over(self._end_all)
                elif self._place is not None and self._turn(self._place):
                    pause = 0
            except Exception as error:  # no failure ends the tail: the streams stay open and wait
                expected = engines.unavailable(error)
                log_.warning("tail_failed", error=type(error).__name__, exc_info=not expected)
                pause = FAILED_PAUSE_SECONDS
            self._closing.wait(pause)

    def _turn(self, after: Cursor) -> bool:
        """Read what is new and pass it on; whether there is more."""
        try:
            with self._engine.begin() as conn:
                page = feed.newer(conn, after=after, limit=BATCH)
        except Refusal as refusal:
            log_.warning("tail_lost", after=str(after), why=type(refusal).__name__)
            self._hand_over(self._end_all)
            return False
        if page.events:
            body = [(event, sse_frames.of_event(event)) for event in page.events]
            self._figures.encoded.inc(len(body))
            self._hand_over(self._pass_on, after, page.looked, body)
        return not page.caught_up

    def _hand_over(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Let the loop do it, and wait until it has."""
        assert self._loop is not None
        done = threading.Event()

        def run() -> None:
            try:
                call(*args, **kwargs)
            finally:
                done.set()

        with contextlib.suppress(RuntimeError):  # that loop has ended
            self._loop.call_soon_threadsafe(run)
            done.wait(PASSED_ON_SECONDS)

    # The loop's part

    def _pass_on(self, after: Cursor, looked: Cursor, framed: Framed) -> None:
        if self._place != after:  # everybody had left meanwhile, and somebody else came
            return
        self._place = looked
        heard: dict[Group, list[Piece]] = defaultdict(list)
        for event, body in framed:
            for group in self._groups.concerned(event):
                heard[group].append((event.cursor.seq, body))
        for group, pieces in heard.items():
            chunk = Chunk.of(pieces)
            for subscription in group.members:
                subscription.put(chunk)
            self._figures.sent.inc(len(pieces) * len(group.members))

    def _end_all(self) -> None:
        self._place = None
        for subscription in self._present:
            subscription.end()

    async def _go_round(self) -> None:
        """Tell those whose filter lets nothing through how far was looked, and let no connection be silent."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            now = asyncio.get_running_loop().time()
            if self._place is None:
                continue
            progress = Chunk.of([(self._place.seq, sse_frames.of_cursor(self._place))])
            for subscription in self._joined:
                silent = now - subscription.put_at
                if silent > PROGRESS_SECONDS and subscription.queued_seq < self._place.seq:
                    subscription.put(progress)
                elif silent > KEEP_ALIVE_SECONDS:
                    subscription.put(KEEP_ALIVE)


KEEP_ALIVE = Chunk.of([(ALWAYS, sse_frames.KEEP_ALIVE)])
