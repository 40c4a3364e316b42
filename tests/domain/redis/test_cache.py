"""The read cache serves no older version, no expired entry, and never delays or fails its caller."""

import json
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import redis

from domain.redis import cache as caches
from domain.redis.cache import Cache, Entry

LOCK = {"owner": "job", "token": 2, "ttl_seconds": 900.0}


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def now_ms() -> int:
    return int(time.time() * 1_000)


def entry(user_id: UUID, version: int, **lock: Any) -> Entry:
    return Entry(user_id, version, LOCK | lock)


def test_a_written_entry_is_read_back(cache: Cache) -> None:
    held, free, unknown = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()

    cache.put([entry(held, 7), Entry(free, 3, None)])

    found, empty = cache.get(held), cache.get(free)
    assert found is not None
    assert (found.user_id, found.lock_version, found.lock) == (held, 7, LOCK)
    assert empty is not None
    assert (empty.lock_version, empty.lock) == (3, None)
    assert cache.get(unknown) is None


@pytest.mark.parametrize("order", [(7, 8), (8, 7)])
def test_the_newer_version_wins_in_either_order(cache: Cache, order: tuple[int, int]) -> None:
    user_id = uuid.uuid4()

    for version in order:
        cache.put([entry(user_id, version)])

    found = cache.get(user_id)
    assert found is not None
    assert found.lock_version == 8


@pytest.mark.parametrize("order", [(7, 8), (8, 7)])
def test_the_newer_version_wins_within_one_call_too(cache: Cache, order: tuple[int, int]) -> None:
    user_id = uuid.uuid4()

    cache.put([entry(user_id, version) for version in order])

    found = cache.get(user_id)
    assert found is not None
    assert found.lock_version == 8


def test_versions_are_compared_as_numbers(cache: Cache) -> None:
    user_id = uuid.uuid4()

    cache.put([entry(user_id, 10)])
    cache.put([entry(user_id, 9)])

    found = cache.get(user_id)
    assert found is not None
    assert found.lock_version == 10


def test_an_entry_lives_two_seconds_at_most(cache: Cache, client: redis.Redis, redis_prefix: str) -> None:
    user_id = uuid.uuid4()

    cache.put([entry(user_id, 7)])

    (key,) = client.keys(f"{redis_prefix}*")
    assert 0 < client.pttl(key) <= 2_000


def test_the_two_seconds_count_from_when_the_database_was_read(
    cache: Cache, client: redis.Redis, redis_prefix: str
) -> None:
    fresh_enough, too_old = uuid.uuid4(), uuid.uuid4()

    cache.put([Entry(fresh_enough, 7, LOCK, age_seconds=1.5), Entry(too_old, 7, LOCK, age_seconds=2.0)])

    (key,) = client.keys(f"{redis_prefix}*")
    assert 0 < client.pttl(key) <= 500
    assert cache.get(too_old) is None


def test_an_entry_never_lives_past_the_end_of_its_lock(cache: Cache) -> None:
    user_id = uuid.uuid4()
    cache.put([entry(user_id, 7, ttl_seconds=0.05)])
    before = cache.get(user_id)

    time.sleep(0.06)

    assert before is not None
    assert cache.get(user_id) is None


def test_a_lock_that_has_ended_is_not_put(cache: Cache) -> None:
    user_id = uuid.uuid4()

    cache.put([entry(user_id, 7, ttl_seconds=0.0)])

    assert cache.get(user_id) is None


def test_an_entry_has_its_age_when_it_is_read(cache: Cache) -> None:
    user_id = uuid.uuid4()
    cache.put([entry(user_id, 7)])

    time.sleep(0.05)

    found = cache.get(user_id)
    assert found is not None
    assert 0.04 <= found.age_seconds < 2
    assert found.life_seconds == 2.0 - found.age_seconds


def test_the_time_left_of_a_lock_is_counted_down_by_the_age_it_had_when_put(cache: Cache) -> None:
    user_id = uuid.uuid4()

    cache.put([Entry(user_id, 7, LOCK, age_seconds=1.0)])

    found = cache.get(user_id)
    assert found is not None
    assert found.lock is not None
    assert found.lock["ttl_seconds"] == 899.0


def test_a_forgotten_entry_is_a_miss(cache: Cache) -> None:
    user_id = uuid.uuid4()
    cache.put([entry(user_id, 7)])

    cache.forget(user_id)

    assert cache.get(user_id) is None


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"lock_version": 7}',
        b'{"lock_version": "x", "lock": null}',
        b'{"lock_version": Infinity, "lock": null}',
        b'{"lock_version": 7, "lock": {}}',
        b'{"lock_version": 7, "lock": "held"}',
        b'{"lock_version": 7, "lock": [1]}',
        b'{"lock_version": 7, "lock": {"ttl_seconds": "soon"}}',
    ],
)
def test_an_entry_of_the_wrong_shape_is_a_miss(
    cache: Cache, client: redis.Redis, redis_prefix: str, stored: bytes
) -> None:
    user_id = uuid.uuid4()
    cache.put([entry(user_id, 7)])
    (key,) = client.keys(f"{redis_prefix}*")
    client.set(key, b"7:%d:" % now_ms() + stored)

    assert cache.get(user_id) is None


@pytest.mark.parametrize("poison", ["of another type", "without its time", "with a time that is none"])
def test_a_redis_key_of_another_type_is_a_miss_and_the_other_keys_are_served(
    cache: Cache, client: redis.Redis, redis_prefix: str, poison: str
) -> None:
    poisoned, sound = uuid.uuid4(), uuid.uuid4()
    cache.put([entry(poisoned, 7)])
    (key,) = client.keys(f"{redis_prefix}*")
    match poison:
        case "of another type":
            client.delete(key)
            client.hset(key, "json", b"poison")
        case "without its time":
            client.set(key, b'7::{"lock_version": 7, "lock": null}')
        case _:
            client.set(key, b'7:noon:{"lock_version": 7, "lock": null}')

    missed = cache.get(poisoned)
    cache.put([entry(poisoned, 8), entry(sound, 7)])

    assert missed is None
    assert cache.get(sound) is not None


def test_a_version_that_is_not_a_number_is_a_miss_until_the_next_write(
    cache: Cache, client: redis.Redis, redis_prefix: str
) -> None:
    user_id = uuid.uuid4()
    cache.put([entry(user_id, 7)])
    (key,) = client.keys(f"{redis_prefix}*")
    client.set(key, b'seven:%d:{"lock_version": "seven", "lock": null}' % now_ms())

    missed = cache.get(user_id)
    cache.put([entry(user_id, 8)])

    assert missed is None
    assert cache.get(user_id) is not None


def test_a_silent_redis_is_a_miss_after_one_timeout_and_then_at_once(silent_port: int) -> None:
    cache = Cache(f"redis://127.0.0.1:{silent_port}/0", prefix="x:")

    first = _seconds_of_a_miss(cache)
    then = _seconds_of_a_miss(cache)

    assert 0.05 < first < 0.3
    assert then < 0.02


def test_a_refusing_redis_is_a_miss_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    cache = Cache(f"redis://127.0.0.1:{port}/0", prefix="x:")

    assert _seconds_of_a_miss(cache) < 0.3
    assert _seconds_of_a_miss(cache) < 0.02


def test_a_write_to_a_silent_redis_raises_nothing_and_opens_the_breaker_for_reads(silent_port: int) -> None:
    cache = Cache(f"redis://127.0.0.1:{silent_port}/0", prefix="x:")

    cache.put([entry(uuid.uuid4(), 7)])
    cache.forget(uuid.uuid4())

    assert _seconds_of_a_miss(cache) < 0.02


def test_a_silent_redis_lacks_nothing_and_opens_the_breaker_for_reads(silent_port: int) -> None:
    cache = Cache(f"redis://127.0.0.1:{silent_port}/0", prefix="x:")

    assert cache.lacking({uuid.uuid4(): 7}) == []

    assert _seconds_of_a_miss(cache) < 0.02


def test_the_breaker_closes_after_its_time(cache: Cache, silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "BREAK_SECONDS", 0.01)
    broken = Cache(f"redis://127.0.0.1:{silent_port}/0", prefix="x:")
    broken.get(uuid.uuid4())

    time.sleep(0.02)

    assert _seconds_of_a_miss(broken) > 0.05


def _seconds_of_a_miss(cache: Cache) -> float:
    began = time.monotonic()
    assert cache.get(uuid.uuid4()) is None
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("version", "written_ms_ago", "expected"), [(7, 100, "old"), (7, 1_500, "new"), (6, 100, "new")]
)
def test_an_entry_of_the_same_version_is_written_again_only_when_it_is_old(
    cache: Cache, client: redis.Redis, redis_prefix: str, version: int, written_ms_ago: int, expected: str
) -> None:
    user_id = uuid.uuid4()
    cache.put([entry(user_id, 7)])
    (key,) = client.keys(f"{redis_prefix}*")
    old = json.dumps({"lock_version": version, "lock": {**LOCK, "owner": "old"}})
    client.set(key, f"{version}:{now_ms() - written_ms_ago}:{old}", px=2_000)

    lacking = cache.lacking({user_id: 7})
    cache.put([entry(user_id, 7, owner="new")])

    found = cache.get(user_id)
    assert found is not None
    assert found.lock is not None
    assert found.lock["owner"] == expected
    assert lacking == ([user_id] if expected == "new" else [])
