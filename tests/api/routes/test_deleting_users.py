"""Deleting a user."""

import uuid
from typing import Any

import pytest

from tests import patience
from tests.api.farms import NOBODY, USERS, Farm
from tests.api.locking.pools import ids, new_pool, refused, stand_for

GONE = ["user.created", "user.deleted"]


def kinds(farm: Farm, user_id: str) -> list[str]:
    """The user's published events, oldest first."""
    farm.publish()
    answer = farm.client.get(f"{USERS}/{user_id}/events")
    assert answer.status_code == 200
    return [event["type"].removeprefix("botfarm.").removesuffix(".v1") for event in answer.json()][::-1]


def test_a_free_user_is_deleted(farm: Farm, user_id: str) -> None:
    answer = farm.delete(user_id)

    assert (answer.status_code, answer.content) == (204, b"")
    assert kinds(farm, user_id) == GONE


def test_afterwards_all_but_its_history_is_not_found(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id).json()["lease_id"]
    farm.lock(user_id)
    farm.delete(user_id, force=True, reason="gone")

    answers = [
        farm.client.get(f"{USERS}/{user_id}"),
        farm.change(user_id, env="prod"),
        farm.delete(user_id),
        farm.delete(user_id, force=True, reason="again"),
        farm.lock(user_id, consistent=True),
        farm.lock(user_id, token=1),
        farm.lock(user_id),
        farm.acquire(user_id),
        farm.acquire(user_id, wait_seconds=10),
        farm.acquire(user_id, lease_id=lease_id),
        farm.renew(user_id, lease_id=lease_id),
        farm.release(user_id),
        farm.release(user_id, lease_id=lease_id),
        farm.release(user_id, force=True, reason="x"),
    ]

    for answer in answers:
        assert refused(answer, 404, "user-not-found")["user_id"] == user_id
    assert kinds(farm, user_id) == ["user.created", "lock.acquired", "lock.released", "user.deleted"]


def test_afterwards_it_is_in_no_list_and_no_pool(farm: Farm) -> None:
    pool = new_pool(farm, 2)
    gone, kept = pool.user_ids
    farm.delete(gone)

    listed = farm.client.get(f"{USERS}/", params={"project_id": pool.project_id}).json()

    assert [user["id"] for user in listed] == [kept]
    assert refused(pool.ask(count=2), 404, "no-matching-user")["matching"] == 1
    assert ids(pool.take()) == [kept]


def test_its_login_is_free_again_for_a_user_with_a_history_of_its_own(farm: Farm) -> None:
    first = farm.new_user(login=f"reused-{uuid.uuid4().hex}")
    farm.delete(first["id"])

    second = farm.new_user(login=first["login"])

    assert second["id"] != first["id"]
    assert kinds(farm, second["id"]) == ["user.created"]


def test_a_locked_user_is_not_deleted(farm: Farm, user_id: str) -> None:
    lock = farm.acquire(user_id, owner="ci-4711").json()["lock"]

    problem = refused(farm.delete(user_id), 409, "user-locked")

    assert (problem["user_id"], problem["owner"], problem["expires_at"]) == (user_id, "ci-4711", lock["expires_at"])
    assert farm.user(user_id)["lock"]
    assert farm.changes(user_id) == ["user.created", "lock.acquired"]


def test_a_locked_user_is_deleted_by_force_after_its_lock_was_ended(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, owner="ci-4711")

    assert farm.delete(user_id, force=True, reason="compromised").status_code == 204

    farm.publish()
    deleted, released, *_ = farm.client.get(f"{USERS}/{user_id}/events").json()
    assert deleted["type"] == "botfarm.user.deleted.v1"
    assert released["type"] == "botfarm.lock.released.v1"
    body = {name: released["data"][name] for name in ("owner", "reason", "note")}
    assert body == {"owner": "ci-4711", "reason": "forced", "note": "compromised"}


def test_force_on_a_free_user_is_no_release(farm: Farm, user_id: str) -> None:
    assert farm.delete(user_id, force=True, reason="why not").status_code == 204
    assert kinds(farm, user_id) == GONE


@pytest.mark.parametrize("query", [{}, {"force": True, "reason": "compromised"}], ids=["plain", "forced"])
def test_a_lapsed_lock_is_no_obstacle_and_its_expiry_comes_first(
    farm: Farm, user_id: str, query: dict[str, Any]
) -> None:
    farm.acquire(user_id)
    farm.lapse(user_id)

    assert farm.delete(user_id, **query).status_code == 204
    assert kinds(farm, user_id) == ["user.created", "lock.acquired", "lock.expired", "user.deleted"]


def test_a_quarantined_user_is_deleted(farm: Farm, user_id: str) -> None:
    farm.change(user_id, status="quarantined")

    assert farm.delete(user_id).status_code == 204


@pytest.mark.parametrize(
    "query",
    [
        {"force": True},
        {"reason": "x"},
        {"force": True, "reason": ""},
        {"force": False, "reason": "x"},
        {"forced": True},
    ],
    ids=str,
)
def test_force_and_a_reason_go_together(farm: Farm, user_id: str, query: dict[str, Any]) -> None:
    assert farm.delete(user_id, **query).status_code == 422
    assert farm.user(user_id)["id"] == user_id


def test_a_user_nobody_knows_cannot_be_deleted(farm: Farm) -> None:
    refused(farm.delete(NOBODY), 404, "user-not-found")
    assert farm.delete("no-uuid").status_code == 422


def test_who_waits_for_a_user_that_is_deleted_is_not_granted_it(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id)
    waiting = stand_for(farm, user_id, wait_seconds=1)

    farm.delete(user_id, force=True, reason="compromised")

    assert waiting.answer(seconds=3).status_code in {404, 409}
    refused(farm.acquire(user_id, lease_id=waiting.request_id, wait_seconds=10), 404, "user-not-found")


def test_of_an_acquire_and_a_delete_at_the_same_time_both_tell_the_truth(farm: Farm) -> None:
    for _ in range(10):
        user_id = farm.new_user()["id"]

        acquiring, deleting = farm.meanwhile(farm.acquire, user_id), farm.meanwhile(farm.delete, user_id)

        outcome = acquiring.result(patience.limit(10)).status_code, deleting.result(patience.limit(10)).status_code
        assert outcome in {(200, 409), (404, 204)}
        expected = ["user.created", "lock.acquired"] if outcome == (200, 409) else GONE
        assert farm.changes(user_id) == expected
