"""How the farm is used, in numbers."""

import uuid
from typing import Any

import pytest

from domain.configuration.settings import Settings
from tests.api.farms import Farm, farming
from tests.api.locking.pools import new_pool, stand, stand_for

STATS = "/api/v1/stats"
FIELDS = {"project_id", "env", "domain", "users", "free", "locked", "quarantined", "cooling", "waiting"}


def totals(farm: Farm, **of: Any) -> list[dict[str, Any]]:
    """The totals that have these values."""
    answer = farm.client.get(STATS)
    assert answer.status_code == 200, answer.text
    return [total for total in answer.json()["totals"] if all(total[name] == value for name, value in of.items())]


def counts(total: dict[str, Any]) -> dict[str, int]:
    """What there is any of."""
    return {name: total[name] for name in FIELDS - {"project_id", "env", "domain"} if total[name]}


def test_an_empty_farm_has_no_totals(served: Farm) -> None:
    assert served.client.get(STATS).json() == {"totals": []}


def test_users_are_counted_per_project_env_and_domain(served: Farm) -> None:
    project_id = str(uuid.uuid4())
    for fields in ({}, {}, {"env": "prod"}, {"domain": "canary"}, {"project_id": project_id}):
        served.new_user(**fields)

    found = totals(served)

    assert all(set(total) == FIELDS for total in found)
    assert [(total["project_id"], total["env"], total["domain"], total["users"]) for total in found] == [
        (None, "prod", "regular", 1),
        (None, "stage", "canary", 1),
        (None, "stage", "regular", 2),
        (project_id, "stage", "regular", 1),
    ]


def test_the_last_slash_does_not_matter(served: Farm) -> None:
    served.new_user()

    assert served.client.get(f"{STATS}/").json() == served.client.get(STATS).json()


def test_every_user_is_free_locked_quarantined_or_cooling(settings: Settings) -> None:
    with farming(settings.model_copy(update={"lock_cooldown_seconds": 60})) as farm:
        pool = new_pool(farm, 6)
        free, locked, out, locked_and_out, cooling, released = pool.user_ids
        for user_id in (locked, locked_and_out, cooling, released):
            farm.acquire(user_id)
        for user_id in (out, locked_and_out):
            farm.change(user_id, status="quarantined")
        farm.lapse(cooling)
        farm.release(released)

        (total,) = totals(farm, project_id=pool.project_id)

        assert counts(total) == {"users": 6, "free": 2, "locked": 2, "quarantined": 2, "cooling": 1}
        assert farm.user(free)["lock"] is None


def test_a_lock_that_lapsed_counts_as_free(farm: Farm) -> None:
    pool = new_pool(farm, 2)
    pool.take(count=2)
    farm.lapse(pool.user_ids[0])

    (total,) = totals(farm, project_id=pool.project_id)

    assert counts(total) == {"users": 2, "free": 1, "locked": 1}


def test_the_numbers_add_up(served: Farm) -> None:
    for env in ("stage", "prod"):
        pool = new_pool(served, 4, env=env)
        pool.take(count=2)
        served.change(pool.user_ids[3], status="quarantined")

    found = totals(served)

    assert sum(total["users"] for total in found) == 8
    for total in found:
        assert total["users"] == total["free"] + total["locked"] + total["quarantined"] + total["cooling"]


def test_requests_in_line_count_where_they_name_exactly_these(farm: Farm) -> None:
    pool = new_pool(farm, 1)
    pool.take()
    exact = [stand(farm, project_id=pool.project_id, env="stage", domain="regular") for _ in range(2)]
    loose = pool.stand(env="stage")

    of_loose, of_users = totals(farm, project_id=pool.project_id)

    assert counts(of_users) == {"users": 1, "locked": 1, "waiting": 2}
    assert (of_loose["env"], of_loose["domain"], counts(of_loose)) == ("stage", None, {"waiting": 1})
    for standing in (*exact, loose):
        farm.cancel(standing.request_id)
    assert [counts(total) for total in totals(farm, project_id=pool.project_id)] == [{"users": 1, "locked": 1}]


def test_who_waits_for_one_particular_user_is_not_counted(farm: Farm) -> None:
    pool = new_pool(farm, 1)
    pool.take()
    waiting = stand_for(farm, pool.user_ids[0])

    (total,) = totals(farm, project_id=pool.project_id)

    assert counts(total) == {"users": 1, "locked": 1}
    farm.cancel(waiting.request_id)


@pytest.mark.parametrize("query", ["project_id=none", "x=1"])
def test_a_parameter_nobody_knows_is_refused(farm: Farm, query: str) -> None:
    assert farm.client.get(f"{STATS}?{query}").status_code == 422
