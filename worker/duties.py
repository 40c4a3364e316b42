"""The duties of a worker: any number of processes may do each of them, at any time and any number of times."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from psycopg2.errors import LockNotAvailable, QueryCanceled
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from domain import heartbeats, locks, log, requests, webhooks
from domain.events import epochs, partitions
from domain.postgres import engines
from domain.redis.cache import Cache
from worker import metrics
from worker.relay import cache_updates
from worker.relay.relay import Relay
from worker.relay.stream import Stream

EXPIRE_LIMIT = 500
# Longer than the time-out of a lock change: no caller waits, and an aborted statement would only be repeated.
PATIENCE_SECONDS = 15.0
CLOSE_AFTER = timedelta(days=1)

T = TypeVar("T")

log_ = log.get(__name__)


@dataclass(frozen=True, kw_only=True)
class Duties:
    """Made without a connection: a process starts, and backs off, while Postgres and Redis are unavailable.

    The relay has its own engines, so that no sweep makes it wait for a connection.
    """

    engine: Engine
    stream: Stream
    cache: Cache
    relay: Relay
    events_keep: timedelta
    events_keep_count: int

    def sequence(self) -> int:
        """Number a batch of committed changes; returns how many."""
        return self.relay.sequence()

    def publish(self) -> int:
        """Append the next batch of events to the stream; returns how many."""
        return self.relay.publish()

    def expire(self) -> bool:
        """End a batch of lapsed locks. True when there may be more."""
        with self.engine.begin() as conn:
            ended = locks.expire(conn, limit=EXPIRE_LIMIT)
        metrics.EXPIRED.inc(ended)
        return ended == EXPIRE_LIMIT

    def sweep_line(self) -> bool:
        """Clean up the waiting line, then run a pass over it, as the API processes do. True when there may be more.

        The homes of the requests find the grants in their next poll. So the line moves even when all dispatchers of the
        API are dead or cut off from Postgres.
        """
        with self.engine.begin() as conn:
            reclaimed = requests.sweep(conn)
        metrics.RECLAIMED.inc(reclaimed)
        with self.engine.begin() as conn:
            return requests.busy(conn) and requests.dispatch(conn, home=None).again

    def retain(self) -> bool:
        """Make partitions ahead, drop old ones, trim the stream. Always returns False: one run does all of it."""
        made = self._unless_busy(partitions.make_ahead)
        closed = self._unless_busy(lambda conn: partitions.close_old(conn, after=CLOSE_AFTER))
        dropped = self._unless_busy(
            lambda conn: partitions.drop_old(conn, keep=self.events_keep, keep_count=self.events_keep_count)
        )
        self._unless_busy(webhooks.prune)
        trimmed = self.relay.trim()
        if made or closed or dropped or trimmed:
            counts = {
                "made": len(made or ()),
                "closed": bool(closed),
                "dropped": len(dropped or ()),
                "trimmed": trimmed,
            }
            log_.info("events_retained", **counts)
        return False

    def _unless_busy(self, work: Callable[[Connection], T]) -> T | None:
        """Do the work; None when it would block readers or the relay for long. The next run tries again."""
        try:
            with self.engine.begin() as conn:
                return work(conn)
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable | QueryCanceled):
                raise
            log_.warning("events_partition_busy", text=str(error.orig).strip().split("\n")[0])
            return None

    def beat(self, part: str) -> None:
        """Write the heartbeat of this part; that of the sequencing is also the relay's heartbeat."""
        with self.engine.begin() as conn:
            heartbeats.beat(conn, part=part)
            if part == "sequencing":
                epochs.beat(conn)

    def close(self) -> None:
        self.relay.close()
        self.stream.close()
        self.cache.close()
        self.engine.dispose()


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
    engine = functools.partial(engines.engine, database_url, patience_seconds=PATIENCE_SECONDS, prepare=True)
    relay = Relay(
        engine(pool_size=2, name="botfarm-relay", pre_ping=False),
        stream,
        keep_count=stream_keep_count,
        single=engine(pool_size=2, name="botfarm-relay", pre_ping=False, autocommit=True),
        published=lambda batch: cache_updates.tell(cache, batch),
    )
    return Duties(
        engine=engine(pool_size=7, name="botfarm-worker"),
        stream=stream,
        cache=cache,
        relay=relay,
        events_keep=events_keep,
        events_keep_count=events_keep_count,
    )
