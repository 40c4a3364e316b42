"""The worker lets the read cache know what it has published."""

import json
import time
from collections.abc import Iterator
from uuid import UUID

import pytest
import redis
from sqlalchemy import Engine

from domain.events.feed import Event
from domain.redis.cache import FRESH_MS, Cache, Entry
from tests.worker.farms import Farm
from tests.worker.relay.turns import settle
from worker.relay import cache_updates
from worker.relay.relay import Relay
from worker.relay.stream import Stream

OF_THE_API = {"owner": "as the API told it", "token": 2, "ttl_seconds": 900.0}


@pytest.fixture
def cache(redis_url: str, redis_prefix: str) -> Iterator[Cache]:
    cache = Cache(redis_url, prefix=redis_prefix)
    yield cache
    cache.close()


@pytest.fixture
def telling(engine: Engine, stream: Stream, cache: Cache) -> Relay:
    return Relay(engine, stream, keep_count=1_000, published=lambda batch: cache_updates.tell(cache, batch))


def test_a_published_lock_is_in_the_cache_as_the_api_shows_it(farm: Farm, telling: Relay, cache: Cache) -> None:
    (user_id,) = farm.grow()
    grant = farm.acquire(user_id, seconds=60)

    settle(telling)

    entry = cache.get(user_id)
    assert entry is not None
    assert entry.lock is not None
    assert grant.user.lock is not None
    assert entry.lock_version == grant.user.lock_version
    assert set(entry.lock) == {"owner", "token", "acquired_at", "expires_at", "ttl_seconds", "metadata"}
    assert (entry.lock["owner"], entry.lock["token"]) == ("tester", grant.user.lock.token)
    assert 58 < entry.lock["ttl_seconds"] <= 60


def test_a_released_user_is_free_in_the_cache(farm: Farm, telling: Relay, cache: Cache) -> None:
    (user_id,) = farm.grow()
    farm.release(farm.acquire(user_id))

    settle(telling)

    entry = cache.get(user_id)
    assert entry is not None
    assert entry.lock is None
    assert entry.lock_version == 3


def test_a_newer_entry_of_the_api_is_never_replaced_by_the_older_one_of_an_event(
    farm: Farm, telling: Relay, cache: Cache
) -> None:
    (user_id,) = farm.grow()
    farm.acquire(user_id)
    cache.put([Entry(user_id, 99, None)])

    settle(telling)

    entry = cache.get(user_id)
    assert entry is not None
    assert (entry.lock_version, entry.lock) == (99, None)


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The users for whom an entry was composed out of an event."""
    users: list[UUID] = []
    compose = cache_updates._entry

    def watched(user_id: UUID, event: Event) -> Entry:
        users.append(user_id)
        return compose(user_id, event)

    monkeypatch.setattr(cache_updates, "_entry", watched)
    return users


def test_an_entry_that_the_api_has_written_is_not_written_again(
    farm: Farm, telling: Relay, cache: Cache, composed: list[UUID]
) -> None:
    body, untold, older = farm.grow(3)
    for user_id in (body, untold, older):
        farm.acquire(user_id)
    cache.put([Entry(body, 2, OF_THE_API), Entry(older, 1, None)])

    settle(telling)

    of_api, of_event, brought_up = cache.get(body), cache.get(untold), cache.get(older)
    assert of_api is not None
    assert of_api.lock == OF_THE_API
    assert of_event is not None
    assert brought_up is not None
    assert (of_event.lock_version, brought_up.lock_version) == (2, 2)
    assert sorted(composed) == sorted([untold, older])


def test_an_entry_that_the_api_wrote_long_ago_is_written_again(
    farm: Farm, telling: Relay, cache: Cache, composed: list[UUID], stream: Stream, redis_prefix: str
) -> None:
    (user_id,) = farm.grow()
    farm.acquire(user_id)
    then = int(time.time() * 1_000) - FRESH_MS - 100
    body = json.dumps({"lock_version": 2, "lock": OF_THE_API})
    stream.client.set(f"{redis_prefix}lock:{user_id}", f"2:{then}:{body}")

    settle(telling)

    found = cache.get(user_id)
    assert found is not None
    assert found.lock is not None
    assert found.lock["owner"] == "tester"
    assert composed == [user_id]


def test_old_events_of_a_refilled_stream_are_not_cached(
    farm: Farm, telling: Relay, cache: Cache, engine: Engine, composed: list[UUID]
) -> None:
    (user_id,) = farm.grow()
    farm.acquire(user_id)
    with engine.begin() as conn:
        conn.exec_driver_sql("UPDATE outbox SET occurred_at = occurred_at - interval '3 seconds'")

    settle(telling)

    assert cache.get(user_id) is None
    assert composed == []


def test_a_deleted_user_is_forgotten(farm: Farm, telling: Relay, cache: Cache, engine: Engine) -> None:
    (user_id,) = farm.grow()
    settle(telling)
    assert cache.get(user_id) is not None
    with engine.begin() as conn:
        conn.exec_driver_sql(
            "INSERT INTO outbox (user_id, lock_version, type, data, occurred_at)"
            " VALUES (%(id)s, 2, 'botfarm.user.deleted.v1', '{}', clock_timestamp())",
            {"id": str(user_id)},
        )

    settle(telling)

    assert cache.get(user_id) is None


def test_a_cache_that_is_away_changes_nothing_for_the_stream(
    farm: Farm, engine: Engine, stream: Stream, redis_url: str
) -> None:
    away = Cache("redis://127.0.0.1:1/0", prefix="x:")
    relay = Relay(engine, stream, keep_count=1_000, published=lambda batch: cache_updates.tell(away, batch))
    farm.change(5)

    settle(relay)

    client = redis.Redis.from_url(redis_url)
    assert client.xlen(stream.key) == 5
    client.close()
