"""Outage: Redis is away while 100,000 events come about, then it is back, and the relay drains them; locking goes on.

    python -m benchmarks.hardships.redis_outage [--events 100000] [--clients 32] [--seconds 10]

Users are acquired and released through HTTP (by wrk, on two API processes) all the time. Counted are the changes that
were committed: with Redis, without it, from its return until no more than a batch is left of the backlog, and with it
again. The machine's pace drifts, so the drain is compared with what was counted before and after all that. Any answer
that is not a success fails the whole, and so does an event that the stream lacks at the end. Most of the backlog is
made straight in the database, since through HTTP it would take a minute. The Redis is a Valkey of its own; Postgres is
one of its own too, or the one that DATABASE_URL names.
"""

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from uuid import UUID

import redis
from sqlalchemy import Engine, text

from benchmarks.failures import Unmeasured
from benchmarks.farms.databases import user_ids
from benchmarks.farms.farms import Farm, farming
from benchmarks.figures import Setup
from benchmarks.hardships import command
from benchmarks.load import wrk
from benchmarks.load.backlog import AT_ONCE, make, settle
from benchmarks.load.random_load import storm
from benchmarks.load.relay_process import SMALL, pending, state
from domain.events import epochs
from standalone.processes.processes import passes
from standalone.servers.valkey import Valkey

USERS = 2_000
CLIENTS = 32
WARM_UP_SECONDS = 3
PATIENCE_SECONDS = 300
POLL_SECONDS = 0.25  # fifty looks a second were to be felt
MOST_SECONDS = 900  # of load in all: it ends when everything is measured
CHANGES = text("SELECT last_seq + (SELECT count(*) FROM outbox) FROM relay_state")
# What so many rows at once leave to Postgres is tidied before anything is counted: it is no part of a real outage.
TIDY = text("VACUUM ANALYZE users, outbox, events")


@dataclass(frozen=True)
class Outage:
    """Changes a second: with Redis, without it, while `backlog` events went out at `drain` a second, and at the end."""

    before: float
    down: float
    meanwhile: float
    after: float
    backlog: int
    drain: float

    @property
    def usual(self) -> float:
        return (self.before + self.after) / 2

    def __str__(self) -> str:
        return (
            f"Redis there: {self.before:,.0f} lock changes/s before all that, {self.after:,.0f} after it\n"
            f"Redis down: {self.down:,.0f} lock changes/s, {self.down / self.before:.2f} of before\n"
            f"Redis back: {self.backlog:,} events drained at {self.drain:,.0f} a second, meanwhile "
            f"{self.meanwhile:,.0f} lock changes/s, {self.meanwhile / self.usual:.2f} of the mean of before and after"
        )


def measure(setup: Setup, *, events: int, clients: int = CLIENTS) -> Outage:
    """Raises Unmeasured when a call fails, when an event is lost, or when the drain takes too long."""
    server = Valkey(setup.folder / "outage")
    server.start()
    try:
        with farming(replace(setup, redis_url=server.url()), users=USERS + AT_ONCE) as farm:
            try:
                return _measured(setup, farm, server, events=events, clients=clients)
            finally:
                server.start()  # a farm deletes at its end what it has left there
    finally:
        server.kill()


def _measured(setup: Setup, farm: Farm, server: Valkey, *, events: int, clients: int) -> Outage:
    chosen = user_ids(farm.engine, most=USERS + AT_ONCE)
    over = threading.Event()

    def load() -> None:
        users = chosen[AT_ONCE:]
        storm(farm.url, farm.key, kind="locks", clients=clients, seconds=MOST_SECONDS, user_ids=users, over=over)

    with ThreadPoolExecutor(1) as aside:
        storming = aside.submit(load)
        try:
            found = _through(setup, farm.engine, server, users=chosen[:AT_ONCE], events=events)
        finally:
            over.set()
        storming.result()
    settle(farm.engine)
    require_whole(server, f"{farm.redis_prefix}events", last_seq=state(farm.engine).last_seq)
    return found


def _through(setup: Setup, engine: Engine, server: Valkey, *, users: Sequence[UUID], events: int) -> Outage:
    time.sleep(WARM_UP_SECONDS)
    before = _changes_a_second(engine, seconds=setup.seconds)
    server.kill()
    down = _changes_a_second(engine, seconds=setup.seconds)
    setup.say(f"Redis is down: {before:,.0f} lock changes/s with it, {down:,.0f} without")
    _pile_up(engine, users, events=events)
    time.sleep(WARM_UP_SECONDS)
    server.start()
    backlog, drain, meanwhile = _drained(engine)
    setup.say(f"Redis is back, and {backlog:,} events are drained")
    time.sleep(WARM_UP_SECONDS)
    after = _changes_a_second(engine, seconds=setup.seconds)
    return Outage(before, down, meanwhile, after, backlog, drain)


def _changes_a_second(engine: Engine, *, seconds: float) -> float:
    changes, began = _changes(engine), time.monotonic()
    time.sleep(seconds)
    return (_changes(engine) - changes) / (time.monotonic() - began)


def _pile_up(engine: Engine, users: Sequence[UUID], *, events: int) -> None:
    """Changes until so many events wait for the stream, each of them numbered."""
    missing = events - _lag(state(engine)) - pending(engine)
    make(engine, users, changes=max(0, missing))
    _await(lambda: pending(engine) < SMALL)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(TIDY)


def _drained(engine: Engine) -> tuple[int, float, float]:
    """The backlog when the relay began; events published a second until it was gone; changes a second meanwhile."""
    published = state(engine).published_seq
    _await(lambda: state(engine).published_seq > published)
    begin, changes, began = state(engine), _changes(engine), time.monotonic()
    _await(lambda: _lag(state(engine)) < SMALL)
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
    if not passes(condition, seconds=PATIENCE_SECONDS, poll_seconds=POLL_SECONDS):
        raise Unmeasured(f"not done within {PATIENCE_SECONDS} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=10, help="length of what is counted before, without and after")
    options = parser.parse_args()

    def measured() -> None:
        wrk.require()
        with command.alone(seconds=options.seconds) as setup:
            command.say(str(measure(setup, events=options.events, clients=options.clients)))

    return command.run(measured)


if __name__ == "__main__":
    sys.exit(main())
