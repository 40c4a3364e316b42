"""Asking again with the same request_id: the same leases, never others besides."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from domain import requests
from domain.requests import Ask
from tests import patience
from tests.api.farms import USERS, Farm, farming
from tests.api.locking.pools import Pool, ids, leases, new_pool, refused
from tests.patience import eventually

WAITING_FOR_A_LOCK = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
ONCE = ["user.created", "lock.acquired"]


@pytest.fixture
def pool(farm: Farm) -> Pool:
    """Four free users with the password `s3cret`."""
    return new_pool(farm, 4, password="s3cret")


@pytest.fixture(scope="module")
def second(farm: Farm) -> Iterator[Farm]:
    """Another API on the same database."""
    with farming(farm.settings) as second:
        yield second


@pytest.fixture
def request_id() -> str:
    return str(uuid.uuid4())


def lasting(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """What must be the same in every answer to one request."""
    kept = ("id", "lease_id", "password", "locktime", "lock_version")
    return [
        {**{name: user[name] for name in kept}, "lock": {**user["lock"], "ttl_seconds": None}}
        for user in answer["users"]
    ]


def end(farm: Farm, user: dict[str, Any], how: str) -> None:
    match how:
        case "released":
            farm.release(user["id"], lease_id=user["lease_id"])
        case "forced":
            farm.release(user["id"], force=True, reason="stuck")
        case "expired":
            farm.lapse(user["id"])
        case _:
            assert farm.delete(user["id"], force=True, reason="gone").status_code == 204


def test_asking_again_is_answered_with_the_same_leases(farm: Farm, pool: Pool, request_id: str) -> None:
    first, second = (pool.take(count=2, request_id=request_id) for _ in range(2))

    assert first["request_id"] == second["request_id"] == request_id
    assert lasting(first) == lasting(second)
    assert set(first["users"][0]) == set(second["users"][0])
    assert second["lost"] == []
    assert len(pool.locked()) == 2
    assert [farm.changes(user_id) for user_id in ids(first)] == [ONCE] * 2


def test_lease_ids_follow_from_request_and_user(pool: Pool, request_id: str) -> None:
    taken = pool.take(count=2, request_id=request_id)

    expected = [str(uuid.uuid5(uuid.UUID(request_id), user_id)) for user_id in ids(taken)]
    assert [user["lease_id"] for user in taken["users"]] == expected


def test_a_second_api_on_the_same_database_answers_alike(second: Farm, pool: Pool, request_id: str) -> None:
    first = pool.take(count=2, request_id=request_id)

    again = second.pool(project_id=pool.project_id, count=2, request_id=request_id).json()

    assert lasting(first) == lasting(again)


def test_a_restarted_api_answers_alike(farm: Farm, pool: Pool, request_id: str) -> None:
    with farming(farm.settings) as before:
        first = before.pool(project_id=pool.project_id, count=2, request_id=request_id).json()
    with farming(farm.settings) as after:
        again = after.pool(project_id=pool.project_id, count=2, request_id=request_id).json()

    assert lasting(first) == lasting(again)


def test_a_repeat_says_how_long_the_leases_still_last(farm: Farm, pool: Pool, request_id: str) -> None:
    first = pool.take(request_id=request_id, ttl_seconds=600)["users"][0]
    farm.renew(first["id"], lease_id=first["lease_id"], ttl_seconds=60)

    again = pool.take(request_id=request_id, ttl_seconds=600)["users"][0]

    assert 50 < again["lock"]["ttl_seconds"] <= 60


@pytest.mark.parametrize(
    ("how", "reason"), [("released", "released"), ("forced", "forced"), ("expired", "expired"), ("deleted", "unknown")]
)
def test_lost_leases_are_listed_with_their_reason(
    farm: Farm, pool: Pool, request_id: str, how: str, reason: str
) -> None:
    kept, ended = pool.take(count=2, request_id=request_id)["users"]
    end(farm, ended, how)

    again = pool.take(count=2, request_id=request_id)

    assert ids(again) == [kept["id"]]
    (lost,) = again["lost"]
    assert (lost["user_id"], lost["lease_id"], lost["reason"]) == (ended["id"], ended["lease_id"], reason)
    assert (lost["ended_at"] is None) == (reason == "unknown")
    assert len(set(pool.locked()) - {ended["id"]}) == 1


def test_a_user_that_somebody_else_has_now_is_lost(farm: Farm, pool: Pool, request_id: str) -> None:
    _, ended = pool.take(count=2, request_id=request_id)["users"]
    end(farm, ended, "expired")
    farm.acquire(ended["id"])

    again = pool.take(count=2, request_id=request_id)

    assert [(lost["user_id"], lost["reason"]) for lost in again["lost"]] == [(ended["id"], "expired")]


@pytest.mark.parametrize("how", ["released", "forced", "expired", "deleted"])
def test_once_all_is_over_the_request_has_ended(farm: Farm, pool: Pool, request_id: str, how: str) -> None:
    for user in pool.take(count=2, request_id=request_id)["users"]:
        end(farm, user, how)

    for wait_seconds in (0, 5):
        answer = pool.ask(count=2, request_id=request_id, wait_seconds=wait_seconds)

        assert refused(answer, 409, "request-ended")["request_id"] == request_id


@pytest.mark.parametrize(
    "other",
    [
        {"count": 2},
        {"env": "stage"},
        {"domain": "regular"},
        {"labels": {}, "project_id": None},
        {"owner": "somebody else"},
        {"ttl_seconds": 60},
        {"metadata": {"job": "2"}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_other_parameters_under_the_same_id_are_refused(pool: Pool, request_id: str, other: dict[str, Any]) -> None:
    wish = {"project_id": pool.project_id, "count": 1, "request_id": request_id, "metadata": {"job": "1"}}
    pool.farm.pool(**wish)

    for wait_seconds in (0, 5):
        answer = pool.farm.pool(**{**wish, **other, "wait_seconds": wait_seconds})

        assert refused(answer, 409, "request-id-reused")["request_id"] == request_id
    assert len(pool.locked()) == 1


def test_patience_and_priority_may_differ_between_repeats(pool: Pool, request_id: str) -> None:
    first = pool.take(request_id=request_id)

    again = pool.take(request_id=request_id, wait_seconds=10, priority=7)

    assert lasting(first) == lasting(again)


def test_what_is_spelt_otherwise_but_means_the_same_is_a_repeat(farm: Farm, pool: Pool, request_id: str) -> None:
    first = pool.take(request_id=request_id)

    again = farm.pool(project_id=pool.project_id.upper(), request_id=request_id.upper(), count=1, ttl_seconds=900)

    assert lasting(again.json()) == lasting(first)


def test_of_a_request_that_was_refused_nothing_is_remembered(farm: Farm, pool: Pool, request_id: str) -> None:
    held = pool.take(count=4)
    refused(pool.ask(count=4, request_id=request_id), 409, "no-user-free")
    refused(pool.ask(count=5, request_id=request_id), 404, "no-matching-user")
    farm.release_all(leases=leases(held["users"]))

    assert len(ids(pool.take(count=2, request_id=request_id))) == 2


def test_two_at_once_get_the_same_leases_and_one_set_is_taken(farm: Farm, second: Farm) -> None:
    for _ in range(20):
        pool = new_pool(farm, 4)
        wish = {"project_id": pool.project_id, "count": 2, "request_id": str(uuid.uuid4())}

        calls = [api.meanwhile(api.pool, **wish) for api in (farm, farm, second)]
        answers = [call.result(patience.limit(10)).json() for call in calls]

        assert len(answers[0]["users"]) == 2
        assert lasting(answers[0]) == lasting(answers[1]) == lasting(answers[2])
        assert len(pool.locked()) == 2


def test_a_repeat_waits_for_a_first_try_that_is_still_under_way(farm: Farm, pool: Pool, request_id: str) -> None:
    first = Ask(
        request_id=uuid.UUID(request_id),
        principal="anonymous",
        owner="anonymous",
        ttl=timedelta(seconds=900),
        project_id=uuid.UUID(pool.project_id),
    )

    with farm.engine.begin() as conn:
        (granted,) = requests.take(conn, [first])
        call = farm.meanwhile(pool.ask, request_id=request_id)
        assert eventually(lambda: waiting_for_locks(farm) == 1)
        assert not call.done()

    assert isinstance(granted, requests.Granted)
    assert ids(call.result(patience.limit(5)).json()) == [str(grant.user.id) for grant in granted.grants]
    assert len(pool.locked()) == 1


def test_the_request_id_of_a_pool_is_no_lease_id(farm: Farm, pool: Pool, request_id: str) -> None:
    (user_id,) = ids(pool.take(request_id=request_id))

    refused(farm.release(user_id, lease_id=request_id), 409, "lease-lost")
    assert farm.client.get(f"{USERS}/{user_id}").json()["lock"]


def waiting_for_locks(farm: Farm) -> int:
    with farm.engine.begin() as conn:
        return int(conn.execute(text(WAITING_FOR_A_LOCK)).scalar_one())
