"""Renewing and releasing many leases in one call."""

import uuid
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.api.farms import NOBODY, USERS, Farm
from tests.api.locking.pools import Pool, ids, leases, new_pool
from tests.api.routes.test_users import TIMESTAMP


@pytest.fixture
def pool(farm: Farm) -> Pool:
    """Four free users."""
    return new_pool(farm, 4)


def lease(user_id: str = NOBODY) -> dict[str, str]:
    return {"user_id": user_id, "lease_id": str(uuid.uuid4())}


def losses(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(lost["user_id"], lost["reason"]) for lost in answer["lost"]]


def end_each_differently(farm: Farm, users: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Let one be released, one forced out, one expire and one keep its lease; who is lost and why."""
    released, forced, expired, _kept = users
    farm.release(released["id"], lease_id=released["lease_id"])
    farm.release(forced["id"], force=True, reason="stuck")
    farm.lapse(expired["id"])
    return [(released["id"], "released"), (forced["id"], "forced"), (expired["id"], "expired")]


def test_many_are_renewed_in_the_order_given(farm: Farm, pool: Pool) -> None:
    mine = leases(pool.take(count=4)["users"])[::-1]

    renewed = farm.renew_all(leases=mine, ttl_seconds=60).json()

    assert set(renewed) == {"renewed", "lost", "server_time"}
    assert [{name: each[name] for name in ("user_id", "lease_id")} for each in renewed["renewed"]] == mine
    assert renewed["lost"] == []
    for each in renewed["renewed"]:
        assert set(each) == {"user_id", "lease_id", "expires_at"}
        left = datetime.fromisoformat(each["expires_at"]) - datetime.fromisoformat(renewed["server_time"])
        assert left == timedelta(seconds=60)
        assert farm.user(each["user_id"])["lock"]["expires_at"] == each["expires_at"]


def test_many_are_renewed_for_the_default_time_by_default(farm: Farm, pool: Pool) -> None:
    mine = leases(pool.take(count=2, ttl_seconds=10)["users"])

    farm.renew_all(leases=mine)

    assert all(890 < farm.user(each["user_id"])["lock"]["ttl_seconds"] <= 900 for each in mine)


def test_many_are_released_in_the_order_given(farm: Farm, pool: Pool) -> None:
    mine = leases(pool.take(count=4)["users"])[::-1]

    answer = farm.release_all(leases=mine).json()

    assert set(answer) == {"released", "lost", "server_time"}
    assert answer["released"] == mine
    assert answer["lost"] == []
    assert TIMESTAMP.fullmatch(answer["server_time"])
    assert pool.locked() == []


def test_each_change_is_one_event(farm: Farm, pool: Pool) -> None:
    mine = leases(pool.take(count=4)["users"])

    farm.renew_all(leases=mine)
    farm.release_all(leases=mine)

    expected = ["user.created", "lock.acquired", "lock.renewed", "lock.released"]
    assert [farm.changes(user_id) for user_id in pool.user_ids] == [expected] * 4


def test_releasing_again_is_answered_alike_and_is_no_event(farm: Farm, pool: Pool) -> None:
    mine = leases(pool.take(count=4)["users"])

    first, again = (farm.release_all(leases=mine).json() for _ in range(2))

    assert first["released"] == again["released"] == mine
    assert again["lost"] == []
    assert [farm.endings(user_id) for user_id in pool.user_ids] == [["holder"]] * 4


def test_what_cannot_be_renewed_is_lost_with_why_and_spoils_nothing(farm: Farm, pool: Pool) -> None:
    users = pool.take(count=4)["users"]
    expected = end_each_differently(farm, users)
    unknown, never = lease(), lease(farm.new_user()["id"])

    answer = farm.renew_all(leases=[*leases(users), unknown, never]).json()

    assert [each["user_id"] for each in answer["renewed"]] == [users[3]["id"]]
    assert losses(answer) == [*expected, (unknown["user_id"], "unknown"), (never["user_id"], "unknown")]
    assert [lost["lease_id"] for lost in answer["lost"][:3]] == [user["lease_id"] for user in users[:3]]
    assert [bool(lost["ended_at"]) for lost in answer["lost"]] == [True, True, True, False, False]
    assert all(TIMESTAMP.fullmatch(lost["ended_at"]) for lost in answer["lost"][:3])


def test_what_cannot_be_released_is_lost_with_why_and_spoils_nothing(farm: Farm, pool: Pool) -> None:
    users = pool.take(count=4)["users"]
    released, *expected = end_each_differently(farm, users)

    answer = farm.release_all(leases=[*leases(users), lease()]).json()

    assert [each["user_id"] for each in answer["released"]] == [released[0], users[3]["id"]]
    assert losses(answer) == [*expected, (NOBODY, "unknown")]


def test_a_late_job_never_touches_the_locks_of_the_next_one(farm: Farm, pool: Pool) -> None:
    late = leases(pool.take(count=4)["users"])
    for user_id in pool.user_ids:
        farm.lapse(user_id)
    present = {user["id"]: user["lock"]["expires_at"] for user in pool.take(count=4, owner="next")["users"]}

    renewed = farm.renew_all(leases=late, ttl_seconds=1).json()
    released = farm.release_all(leases=late).json()

    assert Counter(reason for _, reason in losses(renewed) + losses(released)) == {"expired": 8}
    assert {user_id: farm.user(user_id)["lock"]["expires_at"] for user_id in pool.user_ids} == present


def test_a_lease_of_another_user_is_unknown(farm: Farm, pool: Pool) -> None:
    first, second = pool.take(count=2)["users"]
    crossed = [
        {"user_id": first["id"], "lease_id": second["lease_id"]},
        {"user_id": second["id"], "lease_id": first["lease_id"]},
    ]

    answer = farm.release_all(leases=crossed).json()

    assert losses(answer) == [(first["id"], "unknown"), (second["id"], "unknown")]
    assert len(pool.locked()) == 2


def test_all_of_an_owner_are_released(farm: Farm, pool: Pool) -> None:
    owner = f"job-{uuid.uuid4()}"
    mine = pool.take(count=2, owner=owner)["users"]
    single = farm.acquire(farm.new_user()["id"], owner=owner).json()
    others = pool.take(owner=f"{owner}-not")

    answer = farm.release_all(owner=owner).json()

    expected = leases([*mine, single])
    assert sorted(answer["released"], key=str) == sorted(expected, key=str)
    assert answer["lost"] == []
    assert pool.locked() == ids(others)


def test_releasing_all_of_an_owner_again_finds_nothing(farm: Farm, pool: Pool) -> None:
    owner = f"job-{uuid.uuid4()}"
    pool.take(count=2, owner=owner)

    first, again = (farm.release_all(owner=owner).json() for _ in range(2))

    assert len(first["released"]) == 2
    assert (again["released"], again["lost"]) == ([], [])


def test_locks_of_an_owner_that_lapsed_are_none_of_its_own(farm: Farm, pool: Pool) -> None:
    owner = f"job-{uuid.uuid4()}"
    for user_id in ids(pool.take(count=2, owner=owner)):
        farm.lapse(user_id)

    assert farm.release_all(owner=owner).json()["released"] == []
    assert [farm.endings(user_id) for user_id in pool.user_ids] == [[]] * 4


def test_a_quarantined_user_is_renewed_with_the_others(farm: Farm, pool: Pool) -> None:
    mine = leases(pool.take(count=2)["users"])
    farm.change(mine[0]["user_id"], status="quarantined")

    assert len(farm.renew_all(leases=mine).json()["renewed"]) == 2


def test_a_thousand_are_renewed_and_released_in_one_call(farm: Farm) -> None:
    project_id = str(uuid.uuid4())
    rows = [{"login": f"bot-{uuid.uuid4().hex}", "project_id": project_id} for _ in range(1_000)]
    farm.client.post(f"{USERS}/batch", json=rows)
    mine = leases([user for _ in range(10) for user in farm.pool(project_id=project_id, count=100).json()["users"]])

    renewed = farm.renew_all(leases=mine)
    released = farm.release_all(leases=mine)

    assert len(mine) == len(renewed.json()["renewed"]) == 1_000
    assert released.json()["released"] == mine


@pytest.mark.parametrize("verb", ["renew_lock", "release_lock"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"leases": []},
        {"leases": None},
        {"leases": [lease() for _ in range(2)]},
        {"leases": [{"user_id": str(uuid.UUID(int=n)), "lease_id": NOBODY} for n in range(1_001)]},
        {"leases": [{"user_id": NOBODY}]},
        {"leases": [{"lease_id": NOBODY}]},
        {"leases": [{**lease(), "token": 1}]},
        {"leases": [{**lease(), "user_id": "no-uuid"}]},
        {"leases": {"user_id": NOBODY, "lease_id": NOBODY}},
        {"leases": [lease()], "force": True},
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_list_names_each_of_1_to_1000_users_once(farm: Farm, verb: str, body: dict[str, Any]) -> None:
    answer = farm.client.post(f"{USERS}/{verb}", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][0] == "body"


@pytest.mark.parametrize("ttl_seconds", [0, 86_401, True, "60", 1.5])
def test_the_time_of_a_list_is_as_strict_as_that_of_one(farm: Farm, ttl_seconds: Any) -> None:
    assert farm.renew_all(leases=[lease()], ttl_seconds=ttl_seconds).status_code == 422


@pytest.mark.parametrize(
    "body", [{"owner": "me", "leases": [lease()]}, {"owner": ""}, {"owner": None}, {"Owner": "me"}]
)
def test_either_leases_or_an_owner_are_released(farm: Farm, body: dict[str, Any]) -> None:
    assert farm.release_all(**body).status_code == 422
