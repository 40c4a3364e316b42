"""Which users a pool call takes."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from domain.configuration.settings import Settings
from tests import patience
from tests.api.farms import USERS, Farm, farming
from tests.api.locking.pools import Pool, ids, new_pool, refused

ACQUIRED_AGAIN = ["user.created", "lock.acquired", "lock.expired", "lock.acquired"]
REST_IS_OVER = """
UPDATE users SET locktime = locktime - interval '31 s', lock_expires_at = lock_expires_at - interval '31 s',
    available_at = available_at - interval '31 s' WHERE id = :id
"""


@pytest.fixture
def pool(farm: Farm) -> Pool:
    """Three free users."""
    return new_pool(farm, 3)


@pytest.fixture
def resting(settings: Settings) -> Iterator[Farm]:
    """A farm whose users rest for 30 seconds after a lock expired."""
    with farming(settings.model_copy(update={"lock_cooldown_seconds": 30})) as farm:
        yield farm


def unique(field: str) -> Any:
    """A value that no other user has."""
    text = uuid.uuid4().hex
    return {"project_id": str(uuid.uuid4()), "labels": {"shard": text}}.get(field, text)


@pytest.mark.parametrize("field", ["project_id", "env", "domain", "labels"])
def test_each_filter_alone_chooses(farm: Farm, field: str) -> None:
    value = unique(field)
    right = farm.new_user(**{field: value})["id"]
    farm.new_user(**{field: unique(field)})

    answer = farm.pool(**{field: value})
    nobody_else = farm.pool(**{field: value})

    assert ids(answer.json()) == [right]
    refused(nobody_else, 409, "no-user-free")


def test_filters_and(farm: Farm) -> None:
    project_id = str(uuid.uuid4())
    wish = {"project_id": project_id, "env": "prod", "domain": "canary", "labels": {"region": "eu"}}
    right = farm.new_user(**wish)["id"]
    for field, other in {"env": "stage", "domain": "regular", "labels": {"region": "us"}}.items():
        farm.new_user(**{**wish, field: other})

    assert ids(farm.pool(**wish).json()) == [right]
    assert refused(farm.pool(**wish, count=2), 404, "no-matching-user")["matching"] == 1


def test_a_user_may_have_more_labels_but_not_fewer(farm: Farm) -> None:
    project_id = str(uuid.uuid4())
    farm.new_user(project_id=project_id, labels={"region": "eu"})
    farm.new_user(project_id=project_id, labels={"tier": "gold"})
    right = farm.new_user(project_id=project_id, labels={"region": "eu", "tier": "gold", "more": ""})["id"]

    answer = farm.pool(project_id=project_id, labels={"region": "eu", "tier": "gold"})

    assert ids(answer.json()) == [right]


def test_an_empty_body_takes_any_one_user(served: Farm) -> None:
    user_id = served.new_user(env="prod", domain="canary", labels={"a": "b"})["id"]

    answer = served.client.post(f"{USERS}/acquire_lock", json={})

    assert ids(answer.json()) == [user_id]


def test_all_or_none_are_taken(farm: Farm, pool: Pool) -> None:
    held = pool.take()

    refused(pool.ask(count=3), 409, "no-user-free")

    assert pool.locked() == ids(held)
    assert all(farm.changes(user_id) == ["user.created"] for user_id in pool.user_ids if user_id not in ids(held))


def test_a_hundred_are_taken_in_one_call(farm: Farm) -> None:
    project_id = str(uuid.uuid4())
    rows = [{"login": f"bot-{uuid.uuid4().hex}", "project_id": project_id} for _ in range(100)]
    farm.client.post(f"{USERS}/batch", json=rows)

    taken = farm.pool(project_id=project_id, count=100).json()

    assert len(set(ids(taken))) == 100
    assert len({user["lease_id"] for user in taken["users"]}) == 100


def test_those_released_first_are_taken_first(farm: Farm, pool: Pool) -> None:
    pool.take(count=3)
    first, second, third = pool.user_ids
    order = [second, first, third]
    for user_id in order:
        farm.release(user_id)

    assert [ids(pool.take())[0] for _ in range(3)] == order


def test_in_one_answer_too_those_released_first_come_first(farm: Farm, pool: Pool) -> None:
    pool.take(count=3)
    order = [pool.user_ids[2], pool.user_ids[0], pool.user_ids[1]]
    for user_id in order:
        farm.release(user_id)

    assert ids(pool.take(count=2)) == order[:2]


def test_users_that_were_never_used_come_before_those_that_were(farm: Farm, pool: Pool) -> None:
    used = ids(pool.take())[0]
    farm.release(used)

    assert ids(pool.take(count=3))[-1] == used


def test_a_quarantined_user_is_never_taken(farm: Farm, pool: Pool) -> None:
    bad, *good = pool.user_ids
    farm.change(bad, status="quarantined")

    assert refused(pool.ask(count=3), 404, "no-matching-user")["matching"] == 2
    assert ids(pool.take(count=2)) == good


def test_locks_that_lapsed_are_taken_over_with_an_event_for_each_end(farm: Farm, pool: Pool) -> None:
    before = {user["id"]: user["lock"]["token"] for user in pool.take(count=3)["users"]}
    for user_id in pool.user_ids:
        farm.lapse(user_id)

    taken = pool.take(count=3)

    assert [farm.changes(user_id) for user_id in pool.user_ids] == [ACQUIRED_AGAIN] * 3
    assert all(user["lock"]["token"] > before[user["id"]] for user in taken["users"])


def test_after_a_lapse_a_user_is_not_taken_until_it_has_rested(resting: Farm) -> None:
    pool = new_pool(resting, 1)
    (user_id,) = ids(pool.take(ttl_seconds=60))
    resting.lapse(user_id)

    problem = pool.ask()
    resting.execute(REST_IS_OVER, id=user_id)
    rested = pool.ask()

    refused(problem, 409, "no-user-free")
    assert 1 <= int(problem.headers["Retry-After"]) <= 30
    assert ids(rested.json()) == [user_id]
    assert resting.changes(user_id) == ACQUIRED_AGAIN


def test_after_a_release_a_user_needs_no_rest(resting: Farm) -> None:
    pool = new_pool(resting, 1)
    (user_id,) = ids(pool.take())
    resting.release(user_id)

    assert ids(pool.take()) == [user_id]


def test_two_crowds_never_share_a_user(farm: Farm) -> None:
    pool = new_pool(farm, 6)

    calls = [farm.meanwhile(pool.ask, count=2) for _ in range(6)]
    answers = [call.result(patience.limit(10)) for call in calls]

    served = [ids(answer.json()) for answer in answers if answer.status_code == 200]
    assert len(served) == 3
    assert sorted(user_id for taken in served for user_id in taken) == sorted(pool.user_ids)
    assert {answer.status_code for answer in answers} == {200, 409}
