"""Events: how long a change takes to reach those who wait for it, and how fast a backlog is drained.

Latency is from the event's own `time` to its arrival. That time is the database's clock while the change was made,
before its commit, so the commit, which its caller waits for too, is in the figure. At 100 and 1,000 changes a second
each change is sent when it is due (open loop); at the maximum rate 128 clients send as fast as they are answered. One
consumer of the stream and one of the API's event stream listen at once. Each must get every event, once and in order,
else the part fails; so must the one webhook.

The drain is compared with the highest rate of changes through HTTP in the same round, the worker running, nobody
listening.
"""

import base64
import math
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import httpx

from benchmarks.failures import Unmeasured
from benchmarks.farms.databases import user_ids
from benchmarks.farms.farms import Farm, farming
from benchmarks.figures import Sample, Setup
from benchmarks.load import open_loop, percentiles, wrk
from benchmarks.load.backlog import drained, settle
from benchmarks.load.event_consumers import Watcher, complete, sse, stream, watching, webhook
from benchmarks.load.random_load import storm
from benchmarks.load.relay_process import state

PART = "events"
USERS = 5_000  # at 1,000 changes a second a user is released seconds after it was acquired, never before
RATES = (100, 1_000)
WEBHOOK_RATES = (10, 100)
CLIENTS = 128
BACKLOG = 100_000
QUICK_BACKLOG = 5_000
PATIENCE_SECONDS = 120


def require(*, without: Collection[str]) -> None:  # noqa: ARG001  -- these parts have no peers to leave out
    """Raises ProgramMissing."""
    wrk.require()


def measure(setup: Setup) -> Iterator[Sample]:
    with farming(setup, users=USERS, environment=environment()) as farm:
        users = user_ids(farm.engine, most=USERS)
        for number in range(setup.rounds):
            setup.say(f"events: round {number + 1} of {setup.rounds}")
            yield from listening(setup, farm, users)
            yield from calling(setup, farm, users)
            yield from draining(setup, farm, users)


def environment() -> dict[str, str]:
    """What the farm needs for a webhook on this machine."""
    return {
        "BOTFARM_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        "BOTFARM_SECRET_KEYS": f"bench:{base64.b64encode(secrets.token_bytes(32)).decode()}",
    }


def listening(setup: Setup, farm: Farm, users: Sequence[UUID]) -> Iterator[Sample]:
    """Change to stream and to event stream, at each rate."""
    settle(farm.engine)
    with (
        watching(stream, farm.redis_url, farm.redis_prefix) as on_stream,
        watching(sse, farm.url, farm.key) as on_sse,
    ):
        watchers = {"change to stream": on_stream, "change to SSE": on_sse}
        for rate in RATES:
            setup.say(f"events: {rate:,} changes/s")
            after = state(farm.engine).last_seq
            pace(setup, farm, users, rate=rate)
            yield from _arrivals(farm, watchers, after=after, setting=f"{rate:,} changes/s")
        setup.say("events: maximum rate")
        after = state(farm.engine).last_seq
        highest = _maximum(setup, farm, users)
        yield Sample(PART, "changes", "maximum rate", "botfarm", "1/s", highest)
        yield from _arrivals(farm, watchers, after=after, setting="maximum rate")


def calling(setup: Setup, farm: Farm, users: Sequence[UUID]) -> Iterator[Sample]:
    """Change to webhook, at each rate."""
    with watching(webhook) as receiver, _endpoint(farm, receiver.address):
        watchers = {"change to webhook": receiver}
        for rate in WEBHOOK_RATES:
            setup.say(f"events: webhook, {rate} changes/s")
            after = settle(farm.engine)
            pace(setup, farm, users, rate=rate)
            yield from _arrivals(farm, watchers, after=after, setting=f"{rate:,} changes/s")


def draining(setup: Setup, farm: Farm, users: Sequence[UUID]) -> Iterator[Sample]:
    """A backlog against the highest rate at which one could come about."""
    setup.say("events: backlog")
    highest = _maximum(setup, farm, users)
    rate = drained(farm, changes=QUICK_BACKLOG if setup.quick else BACKLOG)
    yield Sample(PART, "backlog", "events", "drain", "1/s", rate)
    yield Sample(PART, "backlog", "events", "highest rate of changes", "1/s", highest)


def pace(setup: Setup, farm: Farm, users: Sequence[UUID], *, rate: float) -> None:
    """Acquire users in turn and release them in turn, so many changes a second; at the end all are free.

    Raises Unmeasured when any was refused, or when there are not as many changes as answers.
    """
    turns = math.ceil(rate * setup.seconds / (2 * len(users)))
    group = users[: max(1, round(rate * setup.seconds / (2 * turns)))]
    calls = [f"/api/v1/users/{user_id}/{verb}_lock" for verb in ("acquire", "release") for user_id in group]
    file = setup.folder / "paced-calls"
    wrk.write_requests(((path, "") for path in calls), file=file)
    before = settle(farm.engine)
    # Half a call more than there are, for the length of time is not exact.
    seconds = (turns * len(calls) + 0.5) / rate
    found = open_loop.drive(farm.url, file=file, rate=rate, seconds=seconds, headers=farm.key)
    made = settle(farm.engine) - before
    if made != found.answers:
        raise Unmeasured(f"{found.answers:,} calls were answered, but {made:,} changes were made")


def _maximum(setup: Setup, farm: Farm, users: Sequence[UUID]) -> float:
    found = storm(farm.url, farm.key, kind="locks", clients=CLIENTS, seconds=setup.seconds, user_ids=users)
    return found.changes


def _arrivals(farm: Farm, watchers: dict[str, Watcher], *, after: int, setting: str) -> Iterator[Sample]:
    until = settle(farm.engine)
    for name, watcher in watchers.items():
        seen = watcher.collect(until=until, patience_seconds=PATIENCE_SECONDS)
        lags = [event.lag_ms for event in complete(seen, after=after, until=until)]
        yield from percentiles.samples(lags, part=PART, measure=name, setting=setting)


@contextmanager
def _endpoint(farm: Farm, address: str) -> Iterator[None]:
    """One webhook of everything from now on."""
    with httpx.Client(base_url=farm.url, headers=dict(farm.key)) as client:
        made = client.post("/api/v1/webhooks/", json={"url": address}).raise_for_status().json()
        try:
            yield
        finally:
            client.delete(f"/api/v1/webhooks/{made['id']}").raise_for_status()
