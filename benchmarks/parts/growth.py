"""Growing: whether many users, or a long life, make lock changes slower.

Users: single lock changes through HTTP over 1,000 users and over 1,000,000, side by side, at least 5 rounds. Those of
the million are picked again in each round, from all over the table.

Life: 1,000,000 lock cycles (an acquire and a release) on 100,000 users at random, straight in the database by
`domain.locks`, the first 100,000 cycles against the last. Two threads take 50 users at a time; each numbers what it
changed right afterwards, as the relay would, so the outbox stays as short as a worker that keeps up leaves it. Nothing
is put on the stream and autovacuum is left as it is. What `domain.locks` costs in Python is in the speed, as in life.
Done once, whatever the rounds are; about five minutes.
"""

import random
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import repeat
from uuid import UUID

from sqlalchemy import Engine, text

from benchmarks.farms.databases import fill, new_database, user_ids
from benchmarks.farms.farms import Farm, farming
from benchmarks.figures import Sample, Setup
from benchmarks.load import wrk
from benchmarks.load.random_load import storm
from domain import locks
from domain.events import outbox
from domain.locks import Acquire, Grant, Release, Released

PART = "growth"
CLIENTS = 32
ROUNDS = 5
PICKED = 100_000
THREADS = 2
BATCH = 50
TTL = timedelta(minutes=10)
SIZES = text("""
SELECT pg_relation_size('users') AS heap, pg_indexes_size('users') AS indexes,
    n_tup_upd AS updates, n_tup_hot_upd AS hot_updates
FROM pg_stat_user_tables WHERE relname = 'users'
""")
PARTING_SECONDS = 0.2


@dataclass(frozen=True)
class Scale:
    large: int
    small: int
    users: int
    cycles: int
    stretches: int = 10


FULL = Scale(large=1_000_000, small=1_000, users=100_000, cycles=1_000_000)
QUICK = Scale(large=3_000, small=1_000, users=1_000, cycles=2_000, stretches=4)


@dataclass(frozen=True)
class Stretch:
    """A part of all cycles: how fast it was, and the table as it left it."""

    cycles_a_second: float
    heap: int
    indexes: int
    hot_share: float


def require(*, without: Collection[str]) -> None:  # noqa: ARG001  -- these parts have no peers to leave out
    """Raises ProgramMissing."""
    wrk.require()


def measure(setup: Setup) -> Iterator[Sample]:
    scale = QUICK if setup.quick else FULL
    setup.say(f"growth: filling {scale.large:,} users")
    with farming(setup, users=scale.large) as large, farming(setup, users=scale.small) as small:
        for _ in changing(replace(setup, seconds=1), large, small, large_first=True):
            pass  # to warm up
        rounds = setup.rounds if setup.quick else max(setup.rounds, ROUNDS)
        for number in range(rounds):
            setup.say(f"growth: round {number + 1} of {rounds}")
            yield from changing(setup, large, small, large_first=number % 2 == 0)
    yield from living(setup, scale)


def changing(setup: Setup, large: Farm, small: Farm, *, large_first: bool) -> Iterator[Sample]:
    """The same storm on both. Who is first alternates, for the second meets what the first left to be written."""
    pair = [(large, "1 M users"), (small, "1 k users")]
    for farm, peer in pair if large_first else reversed(pair):
        users = user_ids(farm.engine, most=PICKED)
        found = storm(farm.url, farm.key, kind="locks", clients=CLIENTS, seconds=setup.seconds, user_ids=users)
        yield Sample(PART, "lock changes", f"{CLIENTS} clients", peer, "1/s", found.changes)


def living(setup: Setup, scale: Scale) -> Iterator[Sample]:
    with new_database(setup.database_url, pool_size=THREADS + 1) as engine:
        fill(engine, count=scale.users, locked_percent=0)
        stretches = []
        for number in range(scale.stretches):
            stretches.append(_stretch(engine, cycles=scale.cycles // scale.stretches))
            setup.say(
                f"growth: {number + 1} of {scale.stretches} stretches of {scale.cycles:,} cycles, {stretches[-1]}"
            )
    for stretch, peer in ((stretches[0], "first 100 k"), (stretches[-1], "last 100 k")):
        setting = "100 k users"
        yield Sample(PART, "cycles", setting, peer, "1/s", stretch.cycles_a_second)
        yield Sample(PART, "heap", setting, peer, "B", stretch.heap)
        yield Sample(PART, "indexes", setting, peer, "B", stretch.indexes)
        yield Sample(PART, "HOT share", setting, peer, "ratio", stretch.hot_share)


def _stretch(engine: Engine, *, cycles: int) -> Stretch:
    users = user_ids(engine, most=10**9)
    shares = [users[number::THREADS] for number in range(THREADS)]  # no two threads want the same user
    with engine.begin() as conn:
        before = conn.execute(SIZES).one()
    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(_cycle, repeat(engine), shares, repeat(cycles // THREADS)))
    passed = time.monotonic() - began
    engine.dispose()  # a backend reports what it did when it ends, or some time later
    time.sleep(PARTING_SECONDS)
    with engine.begin() as conn:
        after = conn.execute(SIZES).one()
    hot_share = (after.hot_updates - before.hot_updates) / (after.updates - before.updates)
    return Stretch(cycles / passed, after.heap, after.indexes, hot_share)


def _cycle(engine: Engine, users: Sequence[UUID], cycles: int) -> None:
    for _ in range(cycles // BATCH):
        wishes = [Acquire(user_id, uuid.uuid4(), "bench", "bench", TTL) for user_id in random.sample(users, BATCH)]
        with engine.begin() as conn:
            grants = locks.acquire(conn, wishes)
        with engine.begin() as conn:
            ends = locks.release(conn, [Release(wish.user_id, "bench", wish.lease_id) for wish in wishes])
        assert all(isinstance(grant, Grant) for grant in grants), "a user was not free"
        assert all(isinstance(end, Released) for end in ends), "a lease was lost"
        with engine.begin() as conn:
            outbox.sequence(conn, limit=2 * BATCH)
