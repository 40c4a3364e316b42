"""Looking at a lock, from the cache or from the database."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.api.farms import NOBODY, Farm
from tests.api.routes.test_users import LOCK_FIELDS
from tests.patience import eventually


@pytest.fixture
def shelf(farm: Farm) -> Iterator["redis.Redis"]:
    """The Redis that the shared farm caches in."""
    client = redis.Redis.from_url(farm.settings.redis_url, decode_responses=True)
    yield client
    client.close()


def key(farm: Farm, user_id: str) -> str:
    return f"{farm.settings.redis_prefix}lock:{user_id}"


def test_a_free_user_has_no_lock(farm: Farm, user_id: str) -> None:
    assert farm.lock(user_id, consistent=True).json() == {"user_id": user_id, "lock": None, "lock_version": 1}


def test_a_locked_user_has_the_lock_of_its_acquire(farm: Farm, user_id: str) -> None:
    granted = farm.acquire(user_id, owner="ci-4711", metadata={"a": "b"}).json()

    body = farm.lock(user_id, consistent=True).json()

    assert set(body["lock"]) == LOCK_FIELDS
    assert {**body["lock"], "ttl_seconds": 900} == granted["lock"]
    assert body["lock"]["ttl_seconds"] <= 900
    assert body["lock_version"] == granted["lock_version"]


def test_a_second_look_is_a_hit_and_says_the_same(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, metadata={"a": "b"})
    consistent = farm.lock(user_id, consistent=True)

    assert eventually(lambda: farm.lock(user_id).headers["X-Cache"] == "hit")
    cached = farm.lock(user_id)

    assert consistent.headers["X-Cache"] == "miss"
    assert cached.json()["lock"]["ttl_seconds"] <= consistent.json()["lock"]["ttl_seconds"]
    assert set(cached.json()) == set(consistent.json())
    for body in (cached.json(), consistent.json()):
        body["lock"].pop("ttl_seconds")
        assert body == {**consistent.json(), "lock": body["lock"]}


def test_a_consistent_read_shows_no_lapsed_lock(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id)
    farm.lapse(user_id)

    assert farm.lock(user_id, consistent=True).json()["lock"] is None


def test_the_cache_forgets_within_two_seconds(farm: Farm, user_id: str, shelf: "redis.Redis") -> None:
    farm.acquire(user_id)

    assert eventually(lambda: shelf.exists(key(farm, user_id)) == 1)
    assert 0 < int(shelf.pttl(key(farm, user_id))) <= 2_000


def test_the_cache_never_outlives_the_lock(farm: Farm, user_id: str, shelf: "redis.Redis") -> None:
    farm.acquire(user_id, ttl_seconds=1)

    assert eventually(lambda: 0 < int(shelf.pttl(key(farm, user_id))) <= 1_000, seconds=1) or not shelf.exists(
        key(farm, user_id)
    )


def test_the_cache_holds_no_secret(farm: Farm, user_id: str, shelf: "redis.Redis") -> None:
    lease_id = farm.acquire(user_id).json()["lease_id"]

    assert eventually(lambda: shelf.exists(key(farm, user_id)) == 1)
    kept = str(shelf.get(key(farm, user_id)))

    assert "anonymous" in kept
    assert lease_id not in kept
    assert "s3cret" not in kept


def test_valid_answers_for_the_token_in_force_alone(farm: Farm, user_id: str) -> None:
    first = farm.acquire(user_id).json()["lock"]["token"]
    farm.release(user_id)
    second = farm.acquire(user_id).json()["lock"]["token"]

    valid = {token: farm.lock(user_id, token=token).json()["valid"] for token in (0, first, second, second + 1)}
    farm.lapse(user_id)

    assert valid == {0: False, first: False, second: True, second + 1: False}
    assert farm.lock(user_id, token=second).json()["valid"] is False


def test_a_question_about_a_token_always_reads_the_database(farm: Farm, user_id: str) -> None:
    token = farm.acquire(user_id).json()["lock"]["token"]
    assert eventually(lambda: farm.lock(user_id).headers["X-Cache"] == "hit")

    answer = farm.lock(user_id, token=token)

    assert answer.headers["X-Cache"] == "miss"
    assert answer.json()["valid"] is True


@pytest.mark.parametrize("query", [{}, {"consistent": True}, {"token": 1}], ids=str)
def test_an_unknown_user_is_not_found_whatever_is_asked(farm: Farm, query: dict[str, Any]) -> None:
    assert farm.lock(NOBODY, **query).status_code == 404


@pytest.mark.parametrize(
    "query",
    [{"token": "x"}, {"token": -1}, {"token": 2**63}, {"token": ""}, {"token": "true"}, {"consistent": "perhaps"}],
    ids=str,
)
def test_a_malformed_question_is_invalid(farm: Farm, user_id: str, query: dict[str, Any]) -> None:
    assert farm.lock(user_id, **query).status_code == 422
