"""A stored password that does not open: told, alerted, counted, and nobody is left with a lock that is no use."""

import io
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.farms import Farm
from tests.api.logs import lines, logging_to
from tests.patience import eventually

SWAPPED = """
UPDATE users SET password_sealed = other.password_sealed FROM users other
WHERE users.id = :user_id AND other.id = :other_id
"""
ALTERED = """
left(password_sealed, 29) || CASE substr(password_sealed, 30, 1) WHEN 'A' THEN 'B' ELSE 'A' END
    || substr(password_sealed, 31)
"""
SPOIL = {
    "truncated": "left(password_sealed, length(password_sealed) - 8)",
    "cut to its frame": "'v1.' || split_part(password_sealed, '.', 2) || '.'",
    "altered": ALTERED,
    "of an unknown key": "'v1.gone.' || split_part(password_sealed, '.', 3)",
    "of another version": "'v9' || substr(password_sealed, 3)",
    "plain": "'s3cret'",
    "empty": "''",
    "no text": "'v1.ü.☃'",
}

Spoil = Callable[[str], None]


def unreadable(farm: Farm) -> int:
    found = re.search(r"^botfarm_password_unreadable_total (\S+)$", farm.client.get("/metrics").text, re.MULTILINE)
    assert found
    return int(float(found[1]))


def check_told(farm: Farm, answer: Any, alerts: io.StringIO, user_id: str, *, before: int) -> None:
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:botfarm:problem:password-unreadable"
    assert "s3cret" not in answer.text
    assert unreadable(farm) == before + 1
    (alert,) = [line for line in lines(alerts.getvalue()) if line["event"] == "password_unreadable"]
    assert (alert["level"], alert["user_id"]) == ("critical", user_id)
    assert alert["request_id"] == answer.headers["X-Request-ID"]


@pytest.fixture
def alerts() -> Iterator[io.StringIO]:
    with logging_to(io.StringIO()) as stream:
        yield stream


@pytest.mark.parametrize("how", SPOIL.values(), ids=SPOIL)
def test_a_spoilt_password_is_answered_alerted_and_its_lock_released(
    farm: Farm, user_id: str, alerts: io.StringIO, how: str
) -> None:
    farm.execute(f"UPDATE users SET password_sealed = {how} WHERE id = :user_id", user_id=user_id)
    before = unreadable(farm)

    answer = farm.acquire(user_id)

    check_told(farm, answer, alerts, user_id, before=before)
    assert eventually(lambda: farm.user(user_id)["lock"] is None)
    assert farm.endings(user_id) == ["unclaimed"]


def test_the_password_of_another_row_does_not_open(farm: Farm, user_id: str, alerts: io.StringIO) -> None:
    other_id = str(farm.new_user(password="of-another")["id"])
    farm.execute(SWAPPED, user_id=user_id, other_id=other_id)
    before = unreadable(farm)

    answer = farm.acquire(user_id)

    check_told(farm, answer, alerts, user_id, before=before)
    assert farm.acquire(other_id).json()["password"] == "of-another"


def test_a_lease_id_of_ones_own_changes_nothing(farm: Farm, user_id: str) -> None:
    farm.execute(f"UPDATE users SET password_sealed = {SPOIL['altered']} WHERE id = :user_id", user_id=user_id)
    lease_id = str(uuid.uuid4())

    first = farm.acquire(user_id, lease_id=lease_id)
    assert eventually(lambda: farm.user(user_id)["lock"] is None)
    again = farm.acquire(user_id, lease_id=lease_id)

    assert first.status_code == 500
    assert (again.status_code, again.json()["reason"]) == (409, "unclaimed")


def test_a_lease_that_was_had_before_is_not_taken_from_its_holder(farm: Farm, user_id: str) -> None:
    lease_id = str(uuid.uuid4())
    farm.acquire(user_id, lease_id=lease_id)
    farm.execute(f"UPDATE users SET password_sealed = {SPOIL['altered']} WHERE id = :user_id", user_id=user_id)

    again = farm.acquire(user_id, lease_id=lease_id)
    renewed = farm.renew(user_id, lease_id=lease_id)

    assert again.status_code == 500
    assert renewed.status_code == 200


def test_a_pool_with_a_spoilt_password_is_given_back_whole(farm: Farm, alerts: io.StringIO) -> None:
    project_id = str(uuid.uuid4())
    users = [str(farm.new_user(project_id=project_id, password="s3cret")["id"]) for _ in range(3)]
    farm.execute(f"UPDATE users SET password_sealed = {SPOIL['truncated']} WHERE id = :user_id", user_id=users[1])
    before = unreadable(farm)

    answer = farm.pool(project_id=project_id, count=3)

    check_told(farm, answer, alerts, users[1], before=before)
    assert eventually(lambda: [farm.user(user_id)["lock"] for user_id in users] == [None] * 3)
    farm.change(users[1], status="quarantined", status_reason="its password does not open")
    assert farm.pool(project_id=project_id, count=2).status_code == 200


def test_a_new_password_mends_the_user(farm: Farm, user_id: str) -> None:
    farm.execute(f"UPDATE users SET password_sealed = {SPOIL['empty']} WHERE id = :user_id", user_id=user_id)

    farm.change(user_id, password="mended")

    assert farm.acquire(user_id).json()["password"] == "mended"


def test_a_password_is_in_the_answer_to_its_acquire_and_nowhere_else(farm: Farm) -> None:
    password = f"planted-{uuid.uuid4().hex}"
    user = farm.new_user(password=password)
    user_id, lease_id = str(user["id"]), str(uuid.uuid4())

    granted = farm.acquire(user_id, lease_id=lease_id)
    elsewhere = [
        farm.client.get(f"/api/v1/users/{user_id}"),
        farm.client.get(f"/api/v1/users/?login={user['login']}"),
        farm.lock(user_id),
        farm.client.get(f"/api/v1/users/{user_id}/events"),
        farm.change(user_id, labels={"a": "b"}),
        farm.acquire(user_id),
        farm.renew(user_id, lease_id=lease_id),
        farm.release(user_id, lease_id=lease_id),
        farm.release(user_id, lease_id=lease_id),
    ]

    assert granted.json()["password"] == password
    assert granted.headers["Cache-Control"] == "no-store"
    assert {answer.status_code for answer in elsewhere} == {200, 409}
    assert [answer.request.url for answer in elsewhere if password in answer.text] == []
