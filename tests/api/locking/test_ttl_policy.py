"""How long locks last: the operator's bounds, for one lease and for many."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.api.farms import Farm, farming
from tests.api.locking.pools import Pool, leases, new_pool, refused

AGE = """
UPDATE users SET locktime = locktime - interval '50 s' WHERE id = :id
"""


@pytest.fixture(scope="module")
def strict(farm: Farm) -> Iterator[Farm]:
    """The shared farm behind an API whose locks last 20 s, 40 s at most, and 100 s with all renewals."""
    bounds = {"lock_ttl_seconds": 20, "lock_ttl_max_seconds": 40, "lock_lifetime_max_seconds": 100}
    with farming(farm.settings.model_copy(update=bounds)) as strict:
        yield strict


@pytest.fixture
def pool(strict: Farm) -> Pool:
    """Two free users."""
    return new_pool(strict, 2)


def lasts(body: dict[str, Any]) -> timedelta:
    """From the server's time of the answer to the end of the lock."""
    expires_at = body["lock"]["expires_at"] if "lock" in body else body["expires_at"]
    return datetime.fromisoformat(expires_at) - datetime.fromisoformat(body["server_time"])


def test_every_way_to_a_lock_takes_the_default(strict: Farm, pool: Pool) -> None:
    single = strict.acquire(pool.user_ids[0]).json()
    several = pool.take()["users"][0]
    renewed = strict.renew(single["id"], lease_id=single["lease_id"]).json()
    many = strict.renew_all(leases=leases([single, several])).json()

    assert [lasts(body) for body in (single, several, renewed)] == [timedelta(seconds=20)] * 3
    assert [lasts({**each, "server_time": many["server_time"]}) for each in many["renewed"]] == [
        timedelta(seconds=20)
    ] * 2


def test_every_way_to_a_lock_knows_the_maximum(strict: Farm, pool: Pool) -> None:
    held = strict.acquire(pool.user_ids[0], ttl_seconds=40).json()
    too_long = [
        strict.acquire(pool.user_ids[1], ttl_seconds=41),
        strict.acquire(pool.user_ids[1], ttl_seconds=41, wait_seconds=10),
        pool.ask(ttl_seconds=41),
        pool.ask(ttl_seconds=41, wait_seconds=10),
        strict.renew(held["id"], lease_id=held["lease_id"], ttl_seconds=41),
        strict.renew_all(leases=leases([held]), ttl_seconds=41),
    ]

    for answer in too_long:
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "ttl_seconds"]
        assert "40" in answer.json()["errors"][0]["msg"]
    assert pool.locked() == [held["id"]]
    assert pool.take(ttl_seconds=40)["users"][0]["lock"]["ttl_seconds"] == 40


def test_the_time_left_is_computed_by_the_databases_clock(strict: Farm, pool: Pool) -> None:
    user = pool.take(ttl_seconds=40)["users"][0]

    seen = strict.user(user["id"])["lock"]

    assert user["lock"]["ttl_seconds"] == 40
    assert 30 < seen["ttl_seconds"] < 40
    assert seen["expires_at"] == user["lock"]["expires_at"]


def test_a_repeat_does_not_renew(strict: Farm, pool: Pool) -> None:
    wish = {"request_id": str(uuid.uuid4()), "ttl_seconds": 40}

    first, again = (pool.take(**wish)["users"][0] for _ in range(2))

    assert again["lock"]["expires_at"] == first["lock"]["expires_at"]
    assert again["lock"]["ttl_seconds"] < first["lock"]["ttl_seconds"]


@pytest.mark.parametrize("verb", ["one", "many"])
def test_the_expiry_is_set_and_never_added_to(strict: Farm, pool: Pool, verb: str) -> None:
    held = pool.take(ttl_seconds=40)["users"][0]

    for ttl_seconds in (30, 30, 5):
        if verb == "one":
            body = strict.renew(held["id"], lease_id=held["lease_id"], ttl_seconds=ttl_seconds).json()
        else:
            many = strict.renew_all(leases=leases([held]), ttl_seconds=ttl_seconds).json()
            body = {**many["renewed"][0], "server_time": many["server_time"]}

        assert lasts(body) == timedelta(seconds=ttl_seconds)


def test_a_lease_may_be_renewed_up_to_its_longest_life_and_no_further(strict: Farm, pool: Pool) -> None:
    held = pool.take(ttl_seconds=40)["users"][0]
    strict.execute(AGE, id=held["id"])

    within = strict.renew(held["id"], lease_id=held["lease_id"], ttl_seconds=40)
    strict.execute(AGE, id=held["id"])
    beyond = strict.renew(held["id"], lease_id=held["lease_id"], ttl_seconds=1)

    assert within.status_code == 200
    problem = refused(beyond, 409, "lifetime-exceeded")
    assert problem["user_id"] == held["id"]
    assert problem["expires_at"] == within.json()["lock"]["expires_at"]


def test_in_a_list_a_lease_at_the_end_of_its_life_is_lost_but_not_over(strict: Farm, pool: Pool) -> None:
    old, young = pool.take(count=2, ttl_seconds=40)["users"]
    for _ in range(2):
        strict.execute(AGE, id=old["id"])

    answer = strict.renew_all(leases=leases([old, young]), ttl_seconds=30).json()

    assert [each["user_id"] for each in answer["renewed"]] == [young["id"]]
    (lost,) = answer["lost"]
    assert (lost["user_id"], lost["lease_id"], lost["reason"], lost["ended_at"]) == (
        old["id"],
        old["lease_id"],
        "lifetime-exceeded",
        None,
    )
    assert strict.user(old["id"])["lock"]["expires_at"] == old["lock"]["expires_at"]


def test_a_new_lease_has_a_life_of_its_own(strict: Farm, pool: Pool) -> None:
    held = pool.take()["users"][0]
    for _ in range(2):
        strict.execute(AGE, id=held["id"])
    strict.release(held["id"], lease_id=held["lease_id"])

    again = strict.acquire(held["id"]).json()

    assert strict.renew(held["id"], lease_id=again["lease_id"], ttl_seconds=40).status_code == 200


def test_unless_an_operator_says_so_a_lease_may_be_renewed_for_ever(farm: Farm, user_id: str) -> None:
    held = farm.acquire(user_id).json()
    farm.execute("UPDATE users SET locktime = locktime - interval '1 year' WHERE id = :id", id=user_id)

    assert farm.renew(user_id, lease_id=held["lease_id"]).status_code == 200


def test_a_waiting_calls_time_begins_at_the_grant(strict: Farm) -> None:
    pool = new_pool(strict, 1)
    pool.take()
    waiting = pool.stand(ttl_seconds=30)
    strict.release(pool.user_ids[0])

    (granted,) = waiting.answer().json()["users"]

    assert lasts(granted) == timedelta(seconds=30)
    assert granted["lock"]["ttl_seconds"] == 30
