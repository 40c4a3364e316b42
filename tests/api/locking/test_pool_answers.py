"""How a pool call is answered, and what it takes for input."""

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests import patience
from tests.api.farms import NOBODY, USERS, Farm
from tests.api.locking.pools import Pool, ids, leases, new_pool, refused


@pytest.fixture
def pool(farm: Farm) -> Pool:
    """Two free users with the password `s3cret`."""
    return new_pool(farm, 2, password="s3cret")


def raw(farm: Farm, body: str) -> httpx.Response:
    return farm.client.post(f"{USERS}/acquire_lock", content=body, headers={"Content-Type": "application/json"})


def test_each_user_of_a_pool_is_shaped_as_in_a_single_acquire(farm: Farm, pool: Pool) -> None:
    single = farm.acquire(pool.user_ids[0]).json()
    farm.release(pool.user_ids[0])

    taken = pool.take(count=2, owner="ci-4711", ttl_seconds=60, metadata={"job": "17"})

    assert set(taken) == {"request_id", "users", "lost", "server_time"}
    assert taken["lost"] == []
    for user in taken["users"]:
        assert set(user) == set(single)
        assert set(user["lock"]) == set(single["lock"])
        assert user["password"] == "s3cret"
        assert user["lock"]["owner"] == "ci-4711"
        assert user["lock"]["ttl_seconds"] == 60
        assert user["lock"]["metadata"] == {"job": "17"}
        assert user["server_time"] == user["locktime"] == user["lock"]["acquired_at"] == taken["server_time"]
        assert farm.user(user["id"])["lock"]["token"] == user["lock"]["token"]


def test_what_is_not_given_has_its_default(pool: Pool) -> None:
    taken = pool.take()

    (user,) = taken["users"]
    assert user["lock"]["owner"] == "anonymous"
    assert user["lock"]["metadata"] == {}
    assert user["lock"]["ttl_seconds"] == 900
    assert uuid.UUID(taken["request_id"]).version == 4


def test_no_cache_may_keep_the_answer(pool: Pool) -> None:
    assert pool.ask().headers["Cache-Control"] == "no-store"


def test_each_grant_is_one_event_that_names_its_lease_to_nobody(farm: Farm, pool: Pool) -> None:
    taken = pool.take(count=2)
    farm.publish()

    for user in taken["users"]:
        newest = farm.client.get(f"{USERS}/{user['id']}/events").json()[0]
        assert newest["type"] == "botfarm.lock.acquired.v1"
        assert user["lease_id"] not in json.dumps(newest)
        assert "s3cret" not in json.dumps(newest)


def test_the_leases_are_leases_like_any_other(farm: Farm, pool: Pool) -> None:
    first, second = pool.take(count=2)["users"]

    renewed = farm.renew(first["id"], lease_id=first["lease_id"], ttl_seconds=60)
    of_another = farm.renew(first["id"], lease_id=second["lease_id"])
    released = farm.release(second["id"], lease_id=second["lease_id"])

    assert renewed.json()["lock"]["ttl_seconds"] == 60
    refused(of_another, 409, "lease-lost")
    assert released.json()["released"] is True


@pytest.mark.parametrize("wait_seconds", [0, 10])
def test_more_than_there_are_is_not_found_whatever_the_locks(pool: Pool, wait_seconds: int) -> None:
    pool.take()

    answer = pool.ask(count=3, wait_seconds=wait_seconds)

    problem = refused(answer, 404, "no-matching-user")
    assert (problem["count"], problem["matching"]) == (3, 2)
    assert "Retry-After" not in answer.headers
    assert answer.elapsed < timedelta(seconds=patience.limit(5))


def test_as_many_as_there_are_is_a_matter_of_time(farm: Farm, pool: Pool) -> None:
    request_id = str(uuid.uuid4())
    pool.take()

    answer = pool.ask(count=2, request_id=request_id)

    problem = refused(answer, 409, "no-user-free")
    assert (problem["request_id"], problem["position"]) == (request_id, 1)
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    refused(farm.request(request_id), 404, "request-not-found")


def test_a_refusal_names_a_request_id_even_where_none_was_given(pool: Pool) -> None:
    pool.take(count=2)

    assert uuid.UUID(refused(pool.ask(), 409, "no-user-free")["request_id"])


@pytest.mark.parametrize(("ttl_seconds", "at_most"), [(1, 1), (20, 20), (900, 60)])
def test_retry_after_is_when_the_next_lock_ends_but_no_more_than_a_minute(
    farm: Farm, ttl_seconds: int, at_most: int
) -> None:
    pool = new_pool(farm, 1)
    pool.take(ttl_seconds=ttl_seconds)

    seconds = int(pool.ask().headers["Retry-After"])

    assert max(1, at_most - 5) <= seconds <= at_most


def test_a_grant_may_be_released_by_the_whole_answer(farm: Farm, pool: Pool) -> None:
    taken = pool.take(count=2)

    released = farm.release_all(leases=leases(taken["users"])).json()

    assert [user["user_id"] for user in released["released"]] == ids(taken)
    assert pool.locked() == []


@pytest.mark.parametrize("field", ["count", "wait_seconds", "priority", "ttl_seconds"])
@pytest.mark.parametrize("value", ["true", '"1"', "1.5", "1.0", "1e0", "[1]", "{}", "NaN", "1" * 40])
def test_integers_are_strict(farm: Farm, pool: Pool, field: str, value: str) -> None:
    answer = raw(farm, f'{{"project_id": "{pool.project_id}", "{field}": {value}}}')

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", field]
    assert pool.locked() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 0),
        ("count", -1),
        ("count", 101),
        ("count", None),
        ("wait_seconds", -1),
        ("wait_seconds", 61),
        ("priority", -101),
        ("priority", 101),
        ("ttl_seconds", 0),
        ("ttl_seconds", 86_401),
        ("request_id", "no-uuid"),
        ("project_id", "none"),
        ("env", "Prod"),
        ("env", ""),
        ("domain", "with space"),
        ("labels", {"k": 1}),
        ("labels", {"": "v"}),
        ("labels", None),
        ("owner", ""),
        ("owner", "o" * 201),
        ("metadata", {"k": "v" * 2_048}),
        ("lease_id", NOBODY),
        ("user_id", NOBODY),
        ("login", "bot"),
        ("Count", 1),
    ],
)
def test_what_is_out_of_bounds_or_unknown_is_invalid(farm: Farm, field: str, value: Any) -> None:
    answer = farm.pool(**{field: value})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:2] == ["body", field]


@pytest.mark.parametrize("body", ["[]", "1", '"any"', "{"])
def test_a_body_is_an_object(farm: Farm, body: str) -> None:
    assert raw(farm, body).status_code == 422


@pytest.mark.parametrize("body", ["", "null", "{}"])
def test_without_a_wish_any_one_user_will_do(farm: Farm, body: str) -> None:
    farm.new_user()

    answer = raw(farm, body)

    assert answer.status_code == 200
    assert len(answer.json()["users"]) == 1


@pytest.mark.parametrize("field", ["count", "priority"])
def test_the_bounds_themselves_are_within(pool: Pool, field: str) -> None:
    lowest, highest = {"count": (1, 2), "priority": (-100, 100)}[field]

    assert pool.ask(**{field: lowest}).status_code == 200
    assert pool.ask(**{field: highest}).status_code in {200, 409}


def test_the_server_time_is_the_databases(farm: Farm, pool: Pool) -> None:
    taken = pool.take(ttl_seconds=60)

    expires_at = datetime.fromisoformat(taken["users"][0]["lock"]["expires_at"])
    assert expires_at - datetime.fromisoformat(taken["server_time"]) == timedelta(seconds=60)
