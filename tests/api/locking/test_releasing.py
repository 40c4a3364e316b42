"""Giving a user back over HTTP."""

import uuid

import pytest

from tests.api.farms import NOBODY, Farm
from tests.api.routes.test_users import FIELDS


def test_the_answer_is_the_user_as_it_is_now(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id).json()["lease_id"]

    answer = farm.release(user_id, lease_id=lease_id)

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == FIELDS | {"released"}
    assert body["released"] is True
    assert (body["locktime"], body["lock"]) == (None, None)
    assert {name: body[name] for name in FIELDS} == farm.user(user_id)
    assert "s3cret" not in answer.text
    assert lease_id not in answer.text


def test_a_release_repeated_with_its_lease_is_no_error_and_no_event(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id).json()["lease_id"]
    farm.release(user_id, lease_id=lease_id)

    again = farm.release(user_id, lease_id=lease_id)

    assert again.status_code == 200
    assert again.json()["released"] is False
    assert farm.changes(user_id) == ["user.created", "lock.acquired", "lock.released"]


def test_a_late_release_never_frees_the_next_holder(farm: Farm, user_id: str) -> None:
    late = farm.acquire(user_id).json()["lease_id"]
    farm.release(user_id, lease_id=late)
    held = farm.acquire(user_id).json()["lock"]

    answer = farm.release(user_id, lease_id=late)

    assert answer.json()["released"] is False
    assert farm.user(user_id)["lock"]["token"] == held["token"]


def test_a_lapsed_lock_is_released_bare_without_event(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id)
    farm.lapse(user_id)

    answer = farm.release(user_id)

    assert (answer.status_code, answer.json()["released"]) == (200, False)
    assert farm.changes(user_id) == ["user.created", "lock.acquired"]


def test_a_bare_release_of_another_principals_lock_is_forbidden(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, owner="ci-4711")
    farm.execute("UPDATE users SET lock_principal = 'somebody else' WHERE id = :id", id=user_id)

    answer = farm.release(user_id)

    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:botfarm:problem:not-lock-holder"
    assert answer.json()["owner"] == "ci-4711"
    assert farm.user(user_id)["lock"] is not None


def test_a_right_lease_of_another_principal_is_a_wrong_one(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id).json()["lease_id"]
    farm.execute("UPDATE users SET lock_principal = 'somebody else' WHERE id = :id", id=user_id)

    for answer in (farm.release(user_id, lease_id=lease_id), farm.renew(user_id, lease_id=lease_id)):
        assert answer.status_code == 409
        assert answer.json()["reason"] == "unknown"
    assert farm.acquire(user_id, lease_id=lease_id).json()["type"] == "urn:botfarm:problem:lock-held"


def test_force_ends_any_lock_and_the_holder_learns_why(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id).json()["lease_id"]
    farm.execute("UPDATE users SET lock_principal = 'somebody else' WHERE id = :id", id=user_id)

    forced = farm.release(user_id, force=True, reason="host is on fire")
    farm.execute("UPDATE users SET last_lease_principal = 'anonymous' WHERE id = :id", id=user_id)
    late = farm.renew(user_id, lease_id=lease_id)

    assert (forced.status_code, forced.json()["released"]) == (200, True)
    assert late.status_code == 409
    assert late.json()["reason"] == "forced"
    assert late.json()["note"] == "host is on fire"


def test_force_on_a_free_user_changes_nothing(farm: Farm, user_id: str) -> None:
    answer = farm.release(user_id, force=True, reason="to be sure")

    assert (answer.status_code, answer.json()["released"]) == (200, False)
    assert farm.changes(user_id) == ["user.created"]


@pytest.mark.parametrize(
    "body",
    [
        {"force": True},
        {"force": True, "reason": None},
        {"force": True, "reason": ""},
        {"force": True, "reason": "r" * 501},
        {"force": True, "reason": "a\0b"},
        {"force": True, "reason": "why", "lease_id": NOBODY},
        {"reason": "why"},
        {"force": False, "reason": "why"},
        {"force": 1, "reason": "why"},
        {"force": "true", "reason": "why"},
    ],
    ids=str,
)
def test_force_needs_a_reason_and_stands_alone(farm: Farm, user_id: str, body: dict[str, object]) -> None:
    farm.acquire(user_id)

    answer = farm.release(user_id, **body)

    assert answer.status_code == 422
    assert farm.user(user_id)["lock"] is not None


def test_an_unknown_user_is_not_found(farm: Farm) -> None:
    assert farm.release(NOBODY, lease_id=str(uuid.uuid4())).status_code == 404
