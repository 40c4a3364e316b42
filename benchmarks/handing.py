"""Handing on: from a release to the next in line, and from an expiry to those who wait for its event.

Hand-over: 1,000 waiters on 50 users through HTTP, on two API processes, from the answer of a release, and from its
sending, to the answer of the one who waited. With holds of 0.3 s the service has time left; with holds of 0.02 s it is
driven as hard as it goes. Two holders of one user, or a call that fails, fail the part.

Expiry lag: 10,000 locks that lapse within one second, evenly, from the expiry of each to its event: to the event's own
time, which is when the lapse was noticed, and to its arrival with a consumer of the stream. None may be missing.
"""

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

import uvloop

from benchmarks import latencies
from benchmarks.backlog import settle
from benchmarks.connections import allow_many
from benchmarks.farming import Farm, farming
from benchmarks.farms import user_ids
from benchmarks.figures import Sample, Setup
from benchmarks.handovers import Crowd, drive
from benchmarks.watchers import complete, stream, watching
from domain import locks
from domain.locks import Acquire, Grant

PART = "handover"
USERS = 50
WAITERS = 1_000
QUICK_WAITERS = 60
HOLDS = (0.3, 0.02)
LAPSING = 10_000
QUICK_LAPSING = 500
AT_ONCE = 500
EXPIRED = "botfarm.lock.expired.v1"
PATIENCE_SECONDS = 120


def measure(setup: Setup) -> Iterator[Sample]:
    allow_many()
    with farming(setup, users=USERS) as line, farming(setup, users=_lapsing(setup), api_workers=1) as lapses:
        for number in range(setup.rounds):
            setup.say(f"hand-over: round {number + 1} of {setup.rounds}")
            for hold in HOLDS:
                yield from handing_over(setup, line, hold_seconds=hold)
            yield from expiring(setup, lapses, count=_lapsing(setup))


def handing_over(setup: Setup, farm: Farm, *, hold_seconds: float, env: str = "stage") -> Iterator[Sample]:
    waiters = QUICK_WAITERS if setup.quick else WAITERS
    crowd = Crowd(env, waiters, hold_seconds, warm_up_seconds=1.2 if setup.quick else 4, seconds=setup.seconds)
    tally = uvloop.run(drive(farm, crowd))
    setup.say(f"hand-over: holds of {hold_seconds} s, {dict(tally.outcomes)}")
    setting = f"{WAITERS:,} waiters, holds of {hold_seconds} s"
    yield Sample(PART, "hand-overs", setting, "botfarm", "1/s", len(tally.from_answer_ms) / setup.seconds)
    yield from latencies.samples(tally.from_answer_ms, part=PART, measure="hand-over", setting=setting)
    yield from latencies.samples(tally.from_sending_ms, part=PART, measure="release to waiter", setting=setting)


def expiring(setup: Setup, farm: Farm, *, count: int) -> Iterator[Sample]:
    setup.say(f"expiry: {count:,} locks")
    after = settle(farm.engine)
    with watching(stream, farm.redis_url, farm.redis_prefix) as watcher:
        _lock(farm, count=count, seconds=2 if setup.quick else 10)
        until = after + 2 * count  # each is acquired, and each expires
        seen = complete(watcher.collect(until=until, patience_seconds=PATIENCE_SECONDS), after=after, until=until)
    ends = [(event, event.expires_at) for event in seen if event.type == EXPIRED and event.expires_at is not None]
    assert len(ends) == count, f"{len(ends)} of {count} locks expired"
    setting = f"{LAPSING:,} locks in one second"
    noticed = [(event.happened_at - expires_at) * 1e3 for event, expires_at in ends]
    arrived = [(event.arrived_at - expires_at) * 1e3 for event, expires_at in ends]
    yield from latencies.samples(noticed, part=PART, measure="expiry to event", setting=setting, highest=True)
    yield from latencies.samples(arrived, part=PART, measure="expiry to stream", setting=setting, highest=True)


def _lapsing(setup: Setup) -> int:
    return QUICK_LAPSING if setup.quick else LAPSING


def _lock(farm: Farm, *, count: int, seconds: float) -> None:
    """Lock that many users straight in the database: after so many seconds they lapse one by one, all in a second."""
    users = user_ids(farm.engine, most=count)
    lapse_at = time.monotonic() + seconds
    for first in range(0, count, AT_ONCE):
        with farm.engine.begin() as conn:
            left = lapse_at - time.monotonic()
            wishes = [
                Acquire(user_id, uuid.uuid4(), "bench", "bench", timedelta(seconds=left + number / count))
                for number, user_id in enumerate(users[first : first + AT_ONCE], first)
            ]
            grants = locks.acquire(conn, wishes)
        assert all(isinstance(grant, Grant) for grant in grants), "a user was not free"
    assert time.monotonic() < lapse_at, "the first locks lapse before the last are made"
