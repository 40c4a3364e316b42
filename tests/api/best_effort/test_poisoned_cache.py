"""Whatever stands in the cache, no lock is granted wrongly and nobody sees an error."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tests.api.farms import Farm
from tests.api.locking.test_cached_reads import key

Poison = Callable[["redis.Redis", str], object]
HELD = {
    "owner": "nobody real",
    "token": 999,
    "acquired_at": "2026-01-01T00:00:00.000000Z",
    "expires_at": "2099-01-01T00:00:00.000000Z",
    "ttl_seconds": 1e9,
    "metadata": {},
}


def now() -> int:
    return int(time.time() * 1_000)


def text_of(body: object, *, version: object = 10**15, at: Callable[[], object] = now) -> Poison:
    """An entry as the cache writes them, of just now."""
    answer = body if isinstance(body, bytes) else json.dumps(body).encode()

    def write(shelf: "redis.Redis", name: str) -> object:
        return shelf.set(name, f"{version}:{at()}:".encode() + answer)

    return write


def entry(lock: object, *, version: object = 10**15) -> Poison:
    return text_of({"lock_version": version, "lock": lock}, version=version)


POISONS: dict[str, Poison] = {
    "a string": lambda shelf, name: shelf.set(name, "locked"),
    "a list": lambda shelf, name: shelf.rpush(name, "json", "at"),
    "a hash": lambda shelf, name: shelf.hset(name, "json", "{}"),
    "nothing": text_of(b""),
    "no time": text_of({"lock_version": 1, "lock": None}, at=lambda: ""),
    "a time that is none": text_of({"lock_version": 1, "lock": None}, at=lambda: "yesterday"),
    "a version that is none": entry(None, version="newest"),
    "random bytes": text_of(b"\x80\xff\x00\x17random"),
    "no JSON": text_of(b"{"),
    "a JSON list": text_of([1, 2]),
    "null": text_of(None),
    "no lock": text_of({"lock_version": 1}),
    "no version": text_of({"lock": None}),
    "a lock that is text": entry("held"),
    "a lock that is a number": entry(7),
    "a lock that is a list": entry(["ttl_seconds"]),
    "a lock without fields": entry({}),
    "a lock with a ttl alone": entry({"ttl_seconds": 100}),
    "a lock with a ttl that is text": entry({**HELD, "ttl_seconds": "long"}),
    "a lock with an endless ttl": entry({**HELD, "ttl_seconds": float("inf")}),
    "a lock with a ttl that is no number": entry({**HELD, "ttl_seconds": float("nan")}),
    "a lock with an owner that is none": entry({**HELD, "owner": None}),
    "a lock with a time that is none": entry({**HELD, "expires_at": "tomorrow"}),
    "free, of a far version": entry(None),
    "held by nobody real, of a far version": entry(HELD),
    "of the far future": text_of({"lock_version": 1, "lock": None}, version=1, at=lambda: 10**17),
    "a million digits": text_of({"lock_version": 1, "lock": None}, version="9" * 1_000_000, at=lambda: "9" * 1_000),
}
poisoned = pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)


@pytest.fixture
def shelf(farm: Farm) -> Iterator["redis.Redis"]:
    client = redis.Redis.from_url(farm.settings.redis_url)
    yield client
    client.close()


def planted(farm: Farm, shelf: "redis.Redis", user_id: str, poison: Poison) -> None:
    """The poison in place of whatever the cache holds, or is just being told."""
    with shelf.pipeline() as at_once:
        at_once.delete(key(farm, user_id))
        poison(at_once, key(farm, user_id))
        at_once.execute()


@poisoned
def test_a_locked_user_stays_locked(farm: Farm, user_id: str, shelf: "redis.Redis", poison: Poison) -> None:
    held = farm.acquire(user_id).json()["lock"]
    planted(farm, shelf, user_id, poison)

    refused = farm.acquire(user_id)

    assert refused.status_code == 409
    assert refused.json()["expires_at"] == held["expires_at"]


@poisoned
def test_a_free_user_is_granted(farm: Farm, user_id: str, shelf: "redis.Redis", poison: Poison) -> None:
    planted(farm, shelf, user_id, poison)

    assert farm.acquire(user_id).status_code == 200


@poisoned
def test_a_consistent_read_ignores_the_poison(farm: Farm, user_id: str, shelf: "redis.Redis", poison: Poison) -> None:
    held = farm.acquire(user_id).json()["lock"]
    planted(farm, shelf, user_id, poison)

    consistent = farm.lock(user_id, consistent=True).json()
    valid = farm.lock(user_id, token=held["token"]).json()
    invalid = farm.lock(user_id, token=999).json()

    assert consistent["lock"]["token"] == valid["lock"]["token"] == held["token"]
    assert valid["valid"] is True
    assert invalid["valid"] is False


@poisoned
def test_a_look_through_the_cache_is_no_error(farm: Farm, user_id: str, shelf: "redis.Redis", poison: Poison) -> None:
    farm.acquire(user_id)
    planted(farm, shelf, user_id, poison)

    answer = farm.lock(user_id)

    assert answer.status_code == 200
    assert answer.json()["user_id"] == user_id


@pytest.mark.parametrize("name", ["no JSON", "a lock with a ttl alone", "a lock that is text", "a list"])
def test_what_makes_no_sense_is_a_miss(farm: Farm, user_id: str, shelf: "redis.Redis", name: str) -> None:
    held = farm.acquire(user_id).json()["lock"]
    planted(farm, shelf, user_id, POISONS[name])

    answer = farm.lock(user_id)

    assert answer.headers["X-Cache"] == "miss"
    assert answer.json()["lock"]["token"] == held["token"]


def test_another_users_entry_grants_nothing(farm: Farm, user_id: str, shelf: "redis.Redis") -> None:
    other = farm.new_user()["id"]
    held: dict[str, Any] = farm.acquire(user_id).json()
    farm.lock(other)
    shelf.copy(key(farm, other), key(farm, user_id), replace=True)

    assert farm.acquire(user_id).status_code == 409
    assert farm.release(user_id, lease_id=held["lease_id"]).json()["released"] is True
