"""What a worker does: each duty may be done at any time, by any number of processes, any number of times."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine

from domain import db, epochs, heartbeats, locks, log, partitions, requests, webhooks
from domain.cache import Cache
from worker import metrics, sightings
from worker.relay import Relay
from worker.stream import Stream

EXPIRE_LIMIT = 500
# Longer than that of a lock change: nobody waits for an answer, and giving up would do the same work once more.
PATIENCE_SECONDS = 15.0

log_ = log.get(__name__)


@dataclass(frozen=True, kw_only=True)
class Duties:
    """Opened without a connection: a process starts, and backs off, while Postgres and Redis are away.

    The relay has an engine of its own, so that no sweep can keep it waiting for a connection.
    """

    engine: Engine
    stream: Stream
    cache: Cache
    relay: Relay
    events_keep: timedelta
    events_keep_count: int

    def sequence(self) -> bool:
        """Number what was committed. True when something was, and there may be more."""
        return self.relay.sequence() > 0

    def publish(self) -> bool:
        """Put the next batch on the stream. True when something was, and there may be more."""
        return self.relay.publish() > 0

    def expire(self) -> bool:
        """Tidy away some lapsed locks. True when there may be more."""
        with self.engine.begin() as conn:
            ended = locks.expire(conn, limit=EXPIRE_LIMIT)
        metrics.EXPIRED.inc(ended)
        return ended == EXPIRE_LIMIT

    def sweep_line(self) -> bool:
        """Tidy the waiting line, then run a pass over it, as its API processes do. True when there may be more.

        Their homes learn of the grants by asking, which they do all the time. So a line goes on whose own dispatchers
        are dead, or cut off from Postgres.
        """
        with self.engine.begin() as conn:
            reclaimed = requests.sweep(conn)
        metrics.RECLAIMED.inc(reclaimed)
        with self.engine.begin() as conn:
            return requests.busy(conn) and requests.dispatch(conn, home=None).again

    def retain(self) -> bool:
        """Make partitions ahead, drop what is too old, trim the stream. There is never more to do at once."""
        with self.engine.begin() as conn:
            made = partitions.make_ahead(conn)
        with self.engine.begin() as conn:
            dropped = partitions.drop_old(conn, keep=self.events_keep, keep_count=self.events_keep_count)
        with self.engine.begin() as conn:
            webhooks.prune(conn)
        trimmed = self.relay.trim()
        if made or dropped or trimmed:
            log_.info("events_retained", made=len(made), dropped=len(dropped), trimmed=trimmed)
        return False

    def beat(self, part: str) -> None:
        """Say that this part is at work; the sequencing is the relay's sign of life for everybody."""
        with self.engine.begin() as conn:
            heartbeats.beat(conn, part=part)
            if part == "sequencing":
                epochs.beat(conn)

    def close(self) -> None:
        self.stream.close()
        self.cache.close()


def open_duties(
    *,
    database_url: str,
    redis_url: str,
    redis_prefix: str,
    stream_keep_count: int,
    events_keep: timedelta,
    events_keep_count: int,
) -> Duties:
    stream = Stream(redis_url, prefix=redis_prefix)
    cache = Cache(redis_url, prefix=redis_prefix)
    relay = Relay(
        db.engine(database_url, pool_size=3, patience_seconds=PATIENCE_SECONDS, name="botfarm-relay"),
        stream,
        keep_count=stream_keep_count,
        published=lambda batch: sightings.tell(cache, batch),
    )
    return Duties(
        engine=db.engine(database_url, pool_size=7, patience_seconds=PATIENCE_SECONDS, name="botfarm-worker"),
        stream=stream,
        cache=cache,
        relay=relay,
        events_keep=events_keep,
        events_keep_count=events_keep_count,
    )
