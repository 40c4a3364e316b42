"""Handing on: from a release to the next in line, and from an expiry to those who wait for its event.

Hand-over: 1,000 waiters on 50 users through HTTP, on two API processes, from the answer of a release, and from its
sending, to the answer of the one who waited. With holds of 0.3 s the service has time left; with holds of 0.02 s it is
driven as hard as it goes. Then the same with holds of 0.3 s on a new farm whose Redis has just been stopped. Two
holders of one user, or a call that fails, fail the part, and so does a Redis that the API still finds, or finds again.

Expiry lag: 10,000 locks that lapse within one second, evenly, from the expiry of each to its event: to the event's own
time, which is when the lapse was noticed, and to its arrival with a consumer of the stream. None may be missing.

Where REDIS_URL names a Redis that does not answer, all is measured that needs none: hand-over with it and arrival with
a consumer are left out.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta

import uvloop
from sqlalchemy import Engine, text

from benchmarks.failures import Unmeasured
from benchmarks.farms import servers, without_redis
from benchmarks.farms.databases import user_ids
from benchmarks.farms.farms import Farm, farming
from benchmarks.figures import Sample, Setup
from benchmarks.load import percentiles
from benchmarks.load.backlog import settle
from benchmarks.load.event_consumers import Seen, complete, stream, watching
from benchmarks.load.raw_connections import allow_many
from benchmarks.load.relay_process import state
from benchmarks.load.waiting_callers import Crowd, drive
from domain import locks
from domain.locks import Acquire, Grant
from standalone.processes.processes import passes

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
TOLD = text("""
SELECT seq, type, extract(epoch FROM occurred_at)::float8 AS at,
    extract(epoch FROM CAST(data ->> 'expires_at' AS timestamptz))::float8 AS expires_at
FROM events WHERE seq > :after ORDER BY seq
""")


def measure(setup: Setup) -> Iterator[Sample]:
    allow_many()
    with ExitStack() as farms:
        lapses = farms.enter_context(farming(setup, users=_lapsing(setup), api_workers=1))
        line = farms.enter_context(farming(setup, users=USERS)) if servers.answers(setup.redis_url) else None
        if line is None:
            setup.say("REDIS_URL names no Redis that answers: what needs one is not measured")
        else:
            without_redis.insist(line, redis="ok")
        for number in range(setup.rounds):
            setup.say(f"hand-over: round {number + 1} of {setup.rounds}")
            if line is not None:
                for hold in HOLDS:
                    yield from handing_over(setup, line, hold_seconds=hold)
            with without_redis.without_redis(setup, users=USERS) as farm:
                yield from handing_over(setup, farm, hold_seconds=HOLDS[0], besides=", Redis stopped")
            yield from expiring(setup, lapses, count=_lapsing(setup))


def handing_over(
    setup: Setup, farm: Farm, *, hold_seconds: float, env: str = "stage", besides: str = ""
) -> Iterator[Sample]:
    """`besides` says what else there is to the setting."""
    waiters = QUICK_WAITERS if setup.quick else WAITERS
    crowd = Crowd(env, waiters, hold_seconds, warm_up_seconds=1.2 if setup.quick else 4, seconds=setup.seconds)
    tally = uvloop.run(drive(farm, crowd))
    setup.say(f"hand-over: holds of {hold_seconds} s{besides}, {dict(tally.outcomes)}")
    setting = f"{WAITERS:,} waiters, holds of {hold_seconds} s{besides}"
    yield Sample(PART, "hand-overs", setting, "botfarm", "1/s", len(tally.from_answer_ms) / setup.seconds)
    yield from percentiles.samples(tally.from_answer_ms, part=PART, measure="hand-over", setting=setting)
    yield from percentiles.samples(tally.from_sending_ms, part=PART, measure="release to waiter", setting=setting)


def expiring(setup: Setup, farm: Farm, *, count: int) -> Iterator[Sample]:
    """The events from the database and, where there is a Redis, their arrivals from the stream."""
    setup.say(f"expiry: {count:,} locks")
    streaming = servers.answers(farm.redis_url)
    after = settle(farm.engine, published=streaming)
    until = after + 2 * count  # each is acquired, and each expires
    with ExitStack() as stack:
        watcher = stack.enter_context(watching(stream, farm.redis_url, farm.redis_prefix)) if streaming else None
        _lock(farm, count=count, seconds=2 if setup.quick else 10)
        yield from _lags("expiry to event", _numbered(farm.engine, after=after, until=until), count=count)
        if watcher is not None:
            seen = complete(watcher.collect(until=until, patience_seconds=PATIENCE_SECONDS), after=after, until=until)
            yield from _lags("expiry to stream", seen, count=count)


def _lags(measure: str, seen: Sequence[Seen], *, count: int) -> Iterator[Sample]:
    """From each expiry until its event was there."""
    ends = [(event, event.expires_at) for event in seen if event.type == EXPIRED and event.expires_at is not None]
    assert len(ends) == count, f"{len(ends)} of {count} locks expired"
    lags = [(event.arrived_at - expires_at) * 1e3 for event, expires_at in ends]
    setting = f"{LAPSING:,} locks in one second"
    yield from percentiles.samples(lags, part=PART, measure=measure, setting=setting, highest=True)


def _numbered(engine: Engine, *, after: int, until: int) -> Sequence[Seen]:
    """The events of those numbers as the database tells them, each there at its own time. Raises Unmeasured."""
    if not passes(lambda: state(engine).last_seq >= until, seconds=PATIENCE_SECONDS):
        raise Unmeasured(f"event {until} had no number after {PATIENCE_SECONDS} s")
    with engine.begin() as conn:
        rows = conn.execute(TOLD, {"after": after}).all()
    return complete([Seen(row.seq, row.type, row.at, row.at, row.expires_at) for row in rows], after=after, until=until)


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
