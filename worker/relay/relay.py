"""The relay: every committed change comes to the Redis Stream once, in one order, without a gap.

# The three steps

1. **Sequence**: move changes from the outbox to `events`, numbering them, in one transaction that holds the one row
   of `relay_state`. Relays are serialised by that row, so a number becomes visible only after all smaller ones.
   This needs no Redis; those who read `events` over HTTP notice nothing when it is away.
2. **Append** a batch to the stream by one script that does so only if the stream ends where it should.
3. **Advance** the watermark `published_seq`.

A crash may come between any two steps, and inside the second. It is not repaired by being remembered: the next turn
tries to append after the watermark, is refused, looks at how the stream really ends, and goes on from there. The same
look puts everything right that can happen to the stream itself; see `Relay.resync`. Two relays at once are harmless,
as they would write the same ids with the same payloads and the script lets one of them do it.

# Why the refusal of XADD is no proof

"XADD refused the id, so the entry must be there" is not safe: Redis gives that same error for a duplicate, for another
payload under the id, for a hole that can no longer be filled, and for a stream that one foreign `XADD *` has poisoned.
So the last entry is read and compared with `events`.

# Rewound databases

A database restored from a copy, or failed over to a lagging standby, gives out numbers again that the world knows as
other events. Such a history gets a new epoch, the first part of every cursor, and stream ids go on growing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg2.errors import CheckViolation
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from domain import log
from domain.events import epochs, feed, outbox, partitions
from domain.events.cursors import Cursor
from domain.events.epochs import Look, State
from domain.events.feed import Event
from worker import metrics
from worker.relay.stream import START, End, Stream, Tail

BATCH = 500
MANY = 60  # changes in one turn: the next will have some as well
POLL_SECONDS = 1.0

log_ = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """The events to append next, and where the stream must end for that. `mark` is how far it was published before."""

    after: Cursor
    events: Sequence[Event]
    state: State
    mark: Cursor
    read_at: float


class Relay:
    """One relay between one database and one stream; `publish` belongs to one thread, `sequence` to any.

    At most the newest `keep_count` events are put on a stream. `published` is called with each batch that has just
    become known to the world, and may forget it. `single` is an engine that autocommits, for what is one statement or
    needs no more than each statement's own snapshot: BEGIN and COMMIT would only be two round trips more. Without one,
    `engine` does that too.
    """

    def __init__(
        self,
        engine: Engine,
        stream: Stream,
        *,
        keep_count: int,
        single: Engine | None = None,
        published: Callable[[Sequence[Event]], None] = lambda _: None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._engine = engine
        self._single = single or engine
        self._stream = stream
        self._keep_count = keep_count
        self._published = published
        self._look_seconds = poll_seconds
        self._looked_at = float("-inf")
        # As the last turn found and left it: the last number given, and how many events wait for the stream.
        self.numbered = self.waiting = 0
        # Where the stream was found to end, which need not be at the watermark: after a loss it ends before it, after
        # a fork behind it. The watermark leads as soon as it is past this, for another relay may have gone on.
        self._end = START
        self._refilling = False
        self._busy = False

    # Step 1

    def sequence(self) -> int:
        """Number up to a batch of changes; how many. Raises when Postgres is away, and nothing has happened then."""
        try:
            moved = self._sequence()
        except IntegrityError as error:
            if not isinstance(error.orig, CheckViolation):
                raise
            self._make_partitions()
            moved = self._sequence()
        self._busy = moved >= MANY
        metrics.SEQUENCED.inc(moved)
        return moved

    def _sequence(self) -> int:
        with self._single.begin() as conn:
            if not self._busy and not outbox.pending(conn):
                return 0
        with self._engine.begin() as conn:
            return outbox.sequence(conn, limit=BATCH, locked=self._recognise(conn))

    def _make_partitions(self) -> None:
        """The numbers have outrun the partitions, which retention makes ahead."""
        log_.warning("events_partition_missing")
        with self._engine.begin() as conn:
            partitions.make_ahead(conn)

    # Steps 2 and 3

    def publish(self) -> int:
        """Append one batch, or find out why that cannot be; how many events were appended.

        Without events to append it looks, once a second, whether the stream still ends as it should. Raises when
        Postgres or Redis is away; whatever had been done by then is found out by the next turn.
        """
        batch = self.next_batch()
        if not batch.events and time.monotonic() < self._looked_at + self._look_seconds:
            return 0
        end = self.append(batch)
        if end is not None:
            self.resync(batch, end)
        elif batch.events:
            self.advance(batch)
            self._published(batch.events)
        return 0 if end else len(batch.events)

    def next_batch(self) -> Batch:
        with self._single.begin() as conn:
            look = epochs.look(conn)
            if look.known:
                return self._batch(conn, look)
        with self._engine.begin() as conn:
            self._recognise(conn)
            return self._batch(conn, epochs.look(conn))

    def _batch(self, conn: Connection, look: Look) -> Batch:
        mark = _watermark(look)
        after = self._end if self._refilling or self._end > mark else mark
        self.numbered = look.state.last_seq
        return Batch(after, self._following(conn, after, look.state), look.state, mark, time.monotonic())

    def append(self, batch: Batch) -> End | None:
        """None when the stream now holds the batch; else how the stream ends instead."""
        end = self._stream.append(batch.events, after=batch.after)
        self._looked_at = time.monotonic()
        if end is None and batch.events:
            self._end = batch.events[-1].cursor
            self.waiting = batch.state.last_seq - self._end.seq
            self._refilling = self._refilling and self._end < batch.mark
            _count(batch)
        return end

    def advance(self, batch: Batch) -> None:
        last = batch.events[-1].cursor
        with self._single.begin() as conn:
            epochs.advance(conn, epoch=last.epoch, published_seq=last.seq)

    def trim(self) -> int:
        """Drop from the stream what lies behind the newest `keep_count` events; how many.

        Apart from the append, whose guard looks at the other end.
        """
        with self._engine.begin() as conn:
            first_kept = epochs.read(conn).published_seq - self._keep_count + 1
            before = feed.at(conn, seq=first_kept)
        return self._stream.trim(before=before) if first_kept > 1 else 0

    def close(self) -> None:
        self._engine.dispose()
        self._single.dispose()

    # When the stream ends otherwise than expected

    def resync(self, batch: Batch, end: End) -> None:
        """Find the place from which to go on, or make one. The next turn goes on from there.

        - Nothing there: the stream was deleted; the newest events are put on it again.
        - A foreign entry at the tail: it is removed, for no id of ours could follow it.
        - Last entry and last id disagree: the tail was cut off; the last id is set back to the last entry.
        - One of our events: a crash before the watermark, or another relay (it is ahead); or a loss (it is behind).
        - An entry of an older epoch: the history before a rewind; ours may follow it.
        - Any other entry of ours: the database was rewound, and this history needs a new epoch.
        """
        if end.foreign:
            self._remove_foreign(batch, end)
        elif end.torn:
            self._mend(batch, end)
        elif end.tail is None:
            self._go_on(START, batch, kind="gone")
        elif self._may_follow(end.tail, batch):
            self._go_on(end.tail.cursor, batch, kind="ahead" if end.tail.cursor > batch.after else "behind")
        else:
            self._fork(end.tail, batch)

    def _remove_foreign(self, batch: Batch, end: End) -> None:
        removed = self._stream.remove_foreign(end, read_up_to=batch.mark)
        log_.critical("stream_foreign_entry", entry_id=end.entry_id, removed=removed)
        metrics.RESYNCS.labels("foreign").inc()
        metrics.FOREIGN.inc(removed)

    def _mend(self, batch: Batch, end: End) -> None:
        how = self._stream.mend(end, read_up_to=batch.mark)
        log_.warning("stream_cut", last_id=end.last_id, entry_id=end.entry_id, mended=how)
        metrics.RESYNCS.labels("cut").inc()

    def _may_follow(self, tail: Tail, batch: Batch) -> bool:
        """Whether the tail belongs to this history or to an older epoch. If it does, the watermark learns of it."""
        with self._engine.begin() as conn:
            epoch = epochs.read(conn).epoch
            if tail.cursor.epoch < epoch:
                return True
            if not _ours(conn, tail):
                return False
            epochs.advance(conn, epoch=epoch, published_seq=max(tail.cursor.seq, batch.mark.seq))
            return True

    def _fork(self, tail: Tail, batch: Batch) -> None:
        with self._engine.begin() as conn:
            epoch = max(epochs.read(conn).epoch, tail.cursor.epoch) + 1
            first_seq = epochs.start(conn, epoch=epoch)
        log_.critical("database_rewound", tail=str(tail.cursor), epoch=epoch, first_seq=first_seq)
        self._go_on(tail.cursor, batch, kind="fork")

    def _go_on(self, place: Cursor, batch: Batch, *, kind: str) -> None:
        self._end = place
        self._refilling = place < batch.mark
        metrics.RESYNCS.labels(kind).inc()
        tell = log_.warning if self._refilling else log_.debug
        tell("stream_resync", kind=kind, ends=str(place), expected=str(batch.after))

    # What both halves need

    def _recognise(self, conn: Connection) -> State:
        """The state, its row locked, after a look whether this is still the same database."""
        look = epochs.lock_and_look(conn)
        if look.known:
            return look.state
        epochs.adopt(conn)
        return epochs.read(conn)

    def _following(self, conn: Connection, after: Cursor, state: State) -> Sequence[Event]:
        if after == Cursor(state.epoch, state.last_seq):
            return ()  # the usual answer of an idle farm, without a query
        behind = state.last_seq - self._keep_count
        start = max(after, feed.at(conn, seq=behind)) if after.seq < behind else after
        return feed.following(conn, after=start, limit=BATCH)


def _watermark(look: Look) -> Cursor:
    seq = look.state.published_seq
    return Cursor(look.published_epoch, seq) if seq else START


def _ours(conn: Connection, tail: Tail) -> bool:
    """Whether the entry tells the event that this database knows under its number."""
    known = feed.find(conn, seq=tail.cursor.seq)
    if known is not None:
        return (known.cursor, known.event_id) == (tail.cursor, tail.event_id)
    # What retention has dropped cannot be compared; what was never numbered is another history.
    oldest = feed.oldest_seq(conn)
    return oldest is not None and tail.cursor.seq < oldest and tail.cursor == feed.at(conn, seq=tail.cursor.seq)


def _count(batch: Batch) -> None:
    """Count the batch, and for events that are new on the stream the way they had."""
    metrics.PUBLISHED.inc(len(batch.events))
    waited = time.monotonic() - batch.read_at
    for event in batch.events:
        if event.cursor > batch.mark:
            metrics.LATENCY.observe(event.age_seconds + waited)
