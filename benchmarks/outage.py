"""Outage: Redis is away while 100,000 events come about, then it is back, and the relay drains them; locking goes on.

    python -m benchmarks.outage [--events 100000] [--seconds 10]

Users are acquired and released through HTTP by 32 clients (wrk), on two API processes, all the time that is measured:
with Redis, without it, and from its return until the last event of the backlog is on the stream. Any answer that is not
a success fails the whole. Most of the backlog is made straight in the database, since through HTTP it would take a
minute. The Redis is a Valkey of its own; Postgres is one of its own too, or the one that DATABASE_URL names.
"""

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import redis
from sqlalchemy import Engine, text

from benchmarks import alone, wrk
from benchmarks.backlog import AT_ONCE, make, settle
from benchmarks.failures import Unmeasured
from benchmarks.farming import Farm, farming
from benchmarks.farms import user_ids
from benchmarks.figures import Setup
from benchmarks.storms import Storm, storm
from benchmarks.workers import pending, state
from domain import epochs
from standalone.processes import passes
from standalone.valkey import Valkey

USERS = 2_000
CLIENTS = 32
WARM_UP_SECONDS = 3
DRAIN_SECONDS = 20  # longer than the drain takes: a further stretch of load begins with a pause
PATIENCE_SECONDS = 300
CHANGES = text("SELECT last_seq + (SELECT count(*) FROM outbox) FROM relay_state")


@dataclass(frozen=True)
class Outage:
    """Changes a second through HTTP with Redis, without it, and while `backlog` events went out at `drain` a second."""

    before: float
    down: float
    meanwhile: float
    backlog: int
    drain: float

    def __str__(self) -> str:
        return (
            f"Redis there: {self.before:,.0f} lock changes/s\n"
            f"Redis down: {self.down:,.0f} lock changes/s, {self.down / self.before:.2f} of before\n"
            f"Redis back: {self.backlog:,} events drained at {self.drain:,.0f} a second, meanwhile "
            f"{self.meanwhile:,.0f} lock changes/s, {self.meanwhile / self.before:.2f} of before"
        )


def measure(setup: Setup, *, events: int) -> Outage:
    """Raises Unmeasured when a call fails, when an event is lost, or when the drain takes too long."""
    server = Valkey(setup.folder / "outage")
    server.start()
    try:
        with farming(replace(setup, redis_url=server.url()), users=USERS + AT_ONCE) as farm:
            try:
                return _measured(setup, farm, server, events=events)
            finally:
                server.start()  # a farm deletes at its end what it has left there
    finally:
        server.kill()


def _measured(setup: Setup, farm: Farm, server: Valkey, *, events: int) -> Outage:
    chosen = user_ids(farm.engine, most=USERS + AT_ONCE)
    locking = partial(_locking, farm, chosen[AT_ONCE:])
    locking(WARM_UP_SECONDS)
    before = locking(setup.seconds).changes
    settle(farm.engine)
    server.kill()
    down = locking(setup.seconds).changes
    alone.say(f"Redis is down: {before:,.0f} lock changes/s with it, {down:,.0f} without")
    _pile_up(farm.engine, chosen[:AT_ONCE], events=events)
    with ThreadPoolExecutor(1) as aside:
        drained = threading.Event()
        storming = aside.submit(_until, drained, partial(locking, DRAIN_SECONDS))
        try:
            time.sleep(1)  # wrk is at work
            server.start()
            backlog, drain, meanwhile = _drained(farm.engine)
        finally:
            drained.set()
        storming.result()
    settle(farm.engine)
    require_whole(server, f"{farm.redis_prefix}events", last_seq=state(farm.engine).last_seq)
    return Outage(before, down, meanwhile, backlog, drain)


def _locking(farm: Farm, users: Sequence[UUID], seconds: float) -> Storm:
    return storm(farm.url, farm.key, kind="locks", clients=CLIENTS, seconds=seconds, user_ids=users)


def _pile_up(engine: Engine, users: Sequence[UUID], *, events: int) -> None:
    """Changes until so many events wait for the stream, each of them numbered."""
    missing = events - _lag(state(engine)) - pending(engine)
    make(engine, users, changes=max(0, missing))
    _await(lambda: pending(engine) == 0)


def _until(over: threading.Event, work: Callable[[], object]) -> None:
    while not over.is_set():
        work()


def _drained(engine: Engine) -> tuple[int, float, float]:
    """The backlog when the relay began; events published a second until it was gone; changes a second meanwhile."""
    published = state(engine).published_seq
    _await(lambda: state(engine).published_seq > published)
    begin, changes, began = state(engine), _changes(engine), time.monotonic()
    _await(lambda: state(engine).published_seq >= begin.last_seq)
    end, passed = state(engine), time.monotonic() - began
    meanwhile = (_changes(engine) - changes) / passed
    return _lag(begin), (end.published_seq - begin.published_seq) / passed, meanwhile


def require_whole(server: Valkey, key: str, *, last_seq: int) -> None:
    """Every number of the history is an entry: neither crash nor outage cost one."""
    with contextlib.closing(redis.Redis.from_url(server.url())) as client:
        entries = int(client.xlen(key))
    if entries != last_seq:
        raise Unmeasured(f"the stream holds {entries:,} of {last_seq:,} events")


def _lag(now: epochs.State) -> int:
    return now.last_seq - now.published_seq


def _changes(engine: Engine) -> int:
    """How many were ever committed."""
    with engine.begin() as conn:
        return int(conn.execute(CHANGES).scalar_one())


def _await(condition: Callable[[], bool]) -> None:
    if not passes(condition, seconds=PATIENCE_SECONDS):
        raise Unmeasured(f"not done within {PATIENCE_SECONDS} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10, help="length of a measured stretch with and without Redis")
    options = parser.parse_args()

    def measured() -> None:
        wrk.require()
        with alone.alone(seconds=options.seconds) as setup:
            alone.say(str(measure(setup, events=options.events)))

    return alone.run(measured)


if __name__ == "__main__":
    sys.exit(main())
