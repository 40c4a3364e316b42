"""Following a real stream."""

import json
import time
from collections.abc import Iterator

import pytest
import redis

from demo.consumer import Consumer
from demo.events import Event

TOLD = {
    "id": "0190",
    "type": "botfarm.lock.acquired.v1",
    "time": "2026-11-24T07:00:00.250000Z",
    "cursor": "1-2",
    "partitionkey": "ada",
    "lockversion": 2,
    "data": {"owner": "alice", "token": 2, "locktime": "2026-11-24T07:00:00Z", "expires_at": "2026-11-24T07:00:02Z"},
}


@pytest.fixture
def stream(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


def read(consumer: Consumer, *, entries: int) -> None:
    """Let it run until it has seen so many entries."""
    deadline = time.monotonic() + 10
    with consumer:
        while len(consumer.events) + len(consumer.problems) < entries and time.monotonic() < deadline:
            time.sleep(0.01)


def test_events_are_kept_with_the_moment_they_were_read(stream: redis.Redis, redis_url: str, redis_prefix: str) -> None:
    key = f"{redis_prefix}events"
    stream.xadd(key, {"e": json.dumps(TOLD | {"cursor": "1-1"})}, id="1-1")
    stream.xadd(key, {"e": json.dumps(TOLD)}, id="1-2")
    consumer = Consumer(redis_url, key=key, after="1-1")

    read(consumer, entries=1)

    (event,) = consumer.events
    assert event == Event(
        "1-2", "0190", "acquired", "ada", 2, 1795503600.25, "alice", 2, 1795503600.0, 1795503602.0, event.read_at
    )
    assert abs(event.read_at - time.time()) < 10
    assert not consumer.problems


def test_what_is_no_event_is_a_problem_and_the_next_event_is_read(
    stream: redis.Redis, redis_url: str, redis_prefix: str
) -> None:
    key = f"{redis_prefix}events"
    stream.xadd(key, {"x": "foreign"}, id="1-1")
    stream.xadd(key, {"e": "[]"}, id="1-2")
    stream.xadd(key, {"e": json.dumps(TOLD)}, id="1-3")
    consumer = Consumer(redis_url, key=key, after="0-0")

    read(consumer, entries=4)

    assert [problem.split(":")[0] for problem in consumer.problems] == [
        "stream entry 1-1",
        "stream entry 1-2",
        "stream entry 1-3 calls itself 1-2",
    ]
    assert len(consumer.events) == 1


def test_a_redis_that_is_away_is_a_problem_not_an_end() -> None:
    consumer = Consumer("redis://127.0.0.1:1/0", key="events", after="0-0")

    read(consumer, entries=2)

    assert len(consumer.problems) >= 2
