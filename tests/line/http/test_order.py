"""The order of the waiting line, and who is in whose way."""

import uuid

import pytest

from tests.api.farms import Farm
from tests.api.locking.pools import Pool, Standing, ids, new_pool, refused, stand_for, state

DETACH = """
UPDATE lock_requests SET home = NULL, seen_at = clock_timestamp() WHERE request_id = :request_id
"""


@pytest.fixture
def one(farm: Farm) -> Pool:
    """One user, held."""
    pool = new_pool(farm, 1)
    pool.take()
    return pool


@pytest.fixture
def two(farm: Farm) -> Pool:
    """Two users, both held."""
    pool = new_pool(farm, 2)
    pool.take(count=2)
    return pool


def served(pool: Pool, *expected: Standing) -> None:
    """Release the users one at a time and see the expected ones served in this order."""
    for number, standing in enumerate(expected):
        assert all(later.waits for later in expected[number:])
        pool.farm.release(pool.user_ids[0])
        assert standing.granted(seconds=3) == [pool.user_ids[0]]


def detached(pool: Pool, **body: object) -> str:
    """A request in line that nobody asks about just now."""
    standing = pool.stand(wait_seconds=1, **body)
    refused(standing.answer(), 409, "no-user-free")
    assert state(pool.farm, standing.request_id) == "detached"
    return standing.request_id


def test_the_longest_waiting_is_served_first(one: Pool) -> None:
    served(one, *[one.stand() for _ in range(4)])


def test_priority_goes_before_age(one: Pool) -> None:
    low, first, second, high = (one.stand(priority=priority) for priority in (-5, 0, 0, 100))

    served(one, high, first, second, low)


def test_those_who_wait_for_one_user_and_those_who_wait_for_any_stand_in_one_line(one: Pool) -> None:
    (user_id,) = one.user_ids
    first = stand_for(one.farm, user_id)
    second = one.stand()
    urgent = stand_for(one.farm, user_id, priority=1)
    third = stand_for(one.farm, user_id)

    served(one, urgent, first, second, third)


def test_who_asks_for_other_users_is_not_in_the_way(farm: Farm) -> None:
    pool = new_pool(farm, 1, labels={"tier": "gold"})
    plain = farm.new_user(project_id=pool.project_id)["id"]
    pool.take(count=2)
    for_gold = pool.stand(labels={"tier": "gold"}, priority=100)
    for_plain = stand_for(farm, plain)

    farm.release(plain)

    assert for_plain.granted(seconds=3) == [plain]
    assert for_gold.waits
    farm.release(pool.user_ids[0])
    assert for_gold.granted(seconds=3) == pool.user_ids


def test_a_large_request_is_not_starved_by_small_ones(two: Pool) -> None:
    farm = two.farm
    large = two.stand(count=2)
    small = [two.stand() for _ in range(2)]

    farm.release(two.user_ids[0])
    farm.hand_out()

    assert two.locked() == [two.user_ids[1]]
    assert large.waits
    assert all(standing.waits for standing in small)
    farm.release(two.user_ids[1])
    assert sorted(large.granted(seconds=3)) == sorted(two.user_ids)
    for standing, user_id in zip(small, two.user_ids, strict=True):
        farm.release(user_id)
        assert standing.granted(seconds=3) == [user_id]


def test_what_is_more_than_the_first_in_line_could_take_goes_to_the_next(farm: Farm) -> None:
    pool = new_pool(farm, 3)
    held = [pool.take()["users"][0]["id"] for _ in range(3)]
    first, second = pool.stand(count=2), pool.stand(labels={})

    for user_id in held:
        farm.release(user_id)

    assert set(first.granted(seconds=3) + second.granted(seconds=3)) == set(held)


def test_a_call_that_does_not_wait_does_not_overtake(two: Pool) -> None:
    farm, (user_id, _) = two.farm, two.user_ids
    large = two.stand(count=2)
    farm.release(user_id)

    of_pool = two.ask()
    single = farm.acquire(user_id)

    assert refused(of_pool, 409, "no-user-free")["position"] == 2
    assert 1 <= int(of_pool.headers["Retry-After"]) <= 60
    assert refused(single, 409, "line-ahead")["user_id"] == user_id
    assert single.headers["Retry-After"] == "1"
    assert farm.user(user_id)["lock"] is None
    farm.release(two.user_ids[1])
    assert large.granted(seconds=3)


def test_not_even_the_most_urgent_call_overtakes_without_waiting(two: Pool) -> None:
    two.stand(count=2, wait_seconds=2)
    two.farm.release(two.user_ids[0])

    refused(two.ask(priority=100), 409, "no-user-free")
    refused(two.farm.acquire(two.user_ids[0], priority=100), 409, "line-ahead")


def test_what_nobody_in_line_could_take_is_taken_at_once(farm: Farm) -> None:
    pool = new_pool(farm, 1, labels={"tier": "gold"})
    plain = farm.new_user(project_id=pool.project_id)["id"]
    pool.take(labels={"tier": "gold"})
    waiting = pool.stand(labels={"tier": "gold"})

    assert ids(pool.take()) == [plain]
    farm.release(plain)
    assert farm.acquire(plain).status_code == 200
    farm.release(pool.user_ids[0])
    assert waiting.granted(seconds=3)


def test_a_place_in_line_is_no_obstacle_to_a_renewal_or_a_repeat(farm: Farm) -> None:
    pool, request_id = new_pool(farm, 1), str(uuid.uuid4())
    user = pool.take(request_id=request_id)["users"][0]
    waiting = pool.stand()

    again = pool.take(request_id=request_id)
    renewed = farm.renew(user["id"], lease_id=user["lease_id"])

    assert ids(again) == [user["id"]]
    assert renewed.status_code == 200
    farm.release(user["id"])
    assert waiting.granted(seconds=3)


def test_while_nobody_asks_a_request_neither_blocks_others_nor_is_granted(two: Pool) -> None:
    farm = two.farm
    request_id = detached(two, count=2)
    farm.release(two.user_ids[0])
    farm.hand_out()

    assert state(farm, request_id) == "detached"
    assert ids(two.take()) == [two.user_ids[0]]


def test_while_nobody_asks_a_request_lets_younger_ones_pass(one: Pool) -> None:
    request_id = detached(one)
    younger = one.stand()

    one.farm.release(one.user_ids[0])

    assert younger.granted(seconds=3)
    assert state(one.farm, request_id) == "detached"


def test_who_comes_back_in_time_is_served_before_those_who_came_later(one: Pool) -> None:
    request_id = detached(one)
    younger = one.stand()
    older = one.stand(request_id=request_id)

    served(one, older, younger)


def test_who_comes_back_for_one_user_has_kept_its_place_too(one: Pool) -> None:
    (user_id,) = one.user_ids
    first = stand_for(one.farm, user_id, wait_seconds=1)
    refused(first.answer(), 409, "lock-held")
    younger = stand_for(one.farm, user_id)
    older = stand_for(one.farm, user_id, lease_id=first.request_id)

    served(one, older, younger)


def test_a_place_does_not_depend_on_how_often_one_asks(one: Pool) -> None:
    first = one.stand()
    second = one.stand()
    first_again = one.stand(request_id=first.request_id)

    one.farm.release(one.user_ids[0])

    assert first.granted(seconds=3) == first_again.granted(seconds=3)
    assert second.waits
    one.farm.release(one.user_ids[0])
    assert second.granted(seconds=3)


def test_a_request_that_nobody_could_serve_any_more_is_not_in_the_way(two: Pool) -> None:
    farm = two.farm
    two.stand(count=2, wait_seconds=3)
    farm.change(two.user_ids[0], status="quarantined")
    farm.sweep_line()

    farm.release(two.user_ids[1])

    assert ids(two.take()) == [two.user_ids[1]]
