"""Changing a user with PATCH: its lock is never touched."""

import uuid
from typing import Any

import pytest

from tests import patience
from tests.api.farms import NOBODY, USERS, Farm
from tests.api.locking.pools import new_pool, refused

PROJECT = str(uuid.UUID(int=4711, version=4))  # in the name of a test, which must not change
CHANGES = [
    ("project_id", PROJECT),
    ("env", "prod"),
    ("domain", "canary"),
    ("labels", {"region": "eu", "empty": ""}),
    ("labels", {}),
]


@pytest.fixture
def user(farm: Farm) -> dict[str, Any]:
    """A free user with labels and the password `s3cret`."""
    return farm.new_user(password="s3cret", labels={"tier": "gold"}, project_id=str(uuid.uuid4()))


def unchanged(before: dict[str, Any], after: dict[str, Any], *changed: str) -> bool:
    return all(after[name] == before[name] for name in before if name not in changed)


@pytest.mark.parametrize(("field", "value"), CHANGES)
def test_each_field_is_set_alone(farm: Farm, user: dict[str, Any], field: str, value: Any) -> None:
    answer = farm.change(user["id"], **{field: value})

    changed = answer.json()
    assert answer.status_code == 200
    assert changed == farm.user(user["id"])
    assert changed[field] == value
    assert unchanged(user, changed, field, "updated_at", "lock_version")
    assert changed["updated_at"] > user["updated_at"]
    assert changed["lock_version"] == user["lock_version"] + 1
    assert farm.changes(user["id"]) == ["user.created", "user.updated"]


def test_several_fields_are_one_event(farm: Farm, user: dict[str, Any]) -> None:
    changed = farm.change(user["id"], env="prod", domain="canary", labels={}, password="new").json()

    assert (changed["env"], changed["domain"], changed["labels"]) == ("prod", "canary", {})
    assert farm.changes(user["id"]) == ["user.created", "user.updated"]


def test_labels_are_replaced_and_not_merged(farm: Farm, user: dict[str, Any]) -> None:
    assert farm.change(user["id"], labels={"region": "eu"}).json()["labels"] == {"region": "eu"}


def test_a_user_may_be_taken_out_of_its_project(farm: Farm, user: dict[str, Any]) -> None:
    assert farm.change(user["id"], project_id=None).json()["project_id"] is None


@pytest.mark.parametrize(
    "body",
    [{}, {"env": "stage"}, {"labels": {"tier": "gold"}}, {"status": "active"}, {"env": "stage", "domain": "regular"}],
    ids=str,
)
def test_what_changes_nothing_writes_nothing(farm: Farm, user: dict[str, Any], body: dict[str, Any]) -> None:
    answer = farm.change(user["id"], **body)

    assert (answer.status_code, answer.json()) == (200, user)
    assert farm.changes(user["id"]) == ["user.created"]


def test_saying_it_twice_changes_it_once(farm: Farm, user: dict[str, Any]) -> None:
    first, second = (farm.change(user["id"], status="quarantined", status_reason="banned").json() for _ in range(2))

    assert first == second
    assert farm.changes(user["id"]) == ["user.created", "user.updated"]


def test_a_user_is_quarantined_with_a_reason_and_set_active_without(farm: Farm, user: dict[str, Any]) -> None:
    out = farm.change(user["id"], status="quarantined", status_reason="banned").json()
    back = farm.change(user["id"], status="active").json()

    assert (out["status"], out["status_reason"]) == ("quarantined", "banned")
    assert (back["status"], back["status_reason"]) == ("active", None)


def test_a_quarantine_needs_no_reason(farm: Farm, user: dict[str, Any]) -> None:
    assert farm.change(user["id"], status="quarantined").json()["status_reason"] is None


def test_the_reason_of_a_quarantine_may_be_changed_and_taken_back(farm: Farm, user: dict[str, Any]) -> None:
    farm.change(user["id"], status="quarantined", status_reason="banned")

    reasons = [
        farm.change(user["id"], status="quarantined", status_reason=reason).json()["status_reason"]
        for reason in ("appealed", None)
    ]
    kept = farm.change(user["id"], env="prod").json()

    assert reasons == ["appealed", None]
    assert kept["status"] == "quarantined"


def test_the_event_tells_what_the_user_is_like_now_and_no_password(farm: Farm, user: dict[str, Any]) -> None:
    farm.change(user["id"], env="prod", status="quarantined", status_reason="banned", password="planted")
    farm.publish()

    newest = farm.client.get(f"{USERS}/{user['id']}/events").json()[0]

    assert newest["type"] == "botfarm.user.updated.v1"
    body = {name: newest["data"][name] for name in ("env", "status", "status_reason", "labels", "project_id")}
    assert body == {
        "env": "prod",
        "status": "quarantined",
        "status_reason": "banned",
        "labels": {"tier": "gold"},
        "project_id": user["project_id"],
    }
    assert "planted" not in str(newest)


def test_a_locked_user_is_changed_and_stays_locked(farm: Farm, user: dict[str, Any]) -> None:
    granted = farm.acquire(user["id"], owner="ci-4711").json()

    changed = farm.change(user["id"], env="prod", labels={}, status="quarantined").json()

    kept = ("owner", "token", "acquired_at", "expires_at", "metadata")
    assert {name: changed["lock"][name] for name in kept} == {name: granted["lock"][name] for name in kept}
    assert farm.lock(user["id"], consistent=True, token=granted["lock"]["token"]).json()["valid"] is True


def test_a_quarantined_user_keeps_its_lock_but_is_not_granted_again(farm: Farm) -> None:
    pool = new_pool(farm, 1)
    held = pool.take()["users"][0]
    farm.change(held["id"], status="quarantined", status_reason="banned")

    renewed = farm.renew(held["id"], lease_id=held["lease_id"])
    released = farm.release(held["id"], lease_id=held["lease_id"])

    assert renewed.status_code == 200
    assert released.json()["released"] is True
    assert refused(farm.acquire(held["id"]), 409, "user-quarantined")["status_reason"] == "banned"
    refused(pool.ask(), 404, "no-matching-user")


def test_the_next_acquire_returns_the_new_password(farm: Farm, user: dict[str, Any]) -> None:
    before = farm.acquire(user["id"]).json()["password"]
    farm.release(user["id"])

    answer = farm.change(user["id"], password="new s3cret")

    assert "s3cret" not in answer.text
    assert before == "s3cret"
    assert farm.acquire(user["id"]).json()["password"] == "new s3cret"
    assert farm.changes(user["id"]).count("user.updated") == 1


def test_a_user_created_without_a_password_may_be_given_one(farm: Farm) -> None:
    user_id = farm.new_user()["id"]

    farm.change(user_id, password="first")

    assert farm.acquire(user_id).json()["password"] == "first"


@pytest.mark.parametrize("field", ["password", "env", "domain", "labels", "status"])
def test_what_a_user_must_have_cannot_be_taken_away(farm: Farm, user: dict[str, Any], field: str) -> None:
    assert farm.change(user["id"], **{field: None}).status_code == 422
    assert farm.user(user["id"]) == user


@pytest.mark.parametrize(
    "body",
    [
        {"login": "other"},
        {"id": NOBODY},
        {"lock": None},
        {"locktime": None},
        {"lock_version": 9},
        {"created_at": "2020-01-01T00:00:00Z"},
        {"Env": "prod"},
        {"env": "Prod"},
        {"domain": ""},
        {"project_id": "none"},
        {"labels": {"k": 1}},
        {"labels": ["k"]},
        {"password": ""},
        {"status": "retired"},
        {"status": "active", "status_reason": "fine again"},
        {"status_reason": "banned"},
        {"status_reason": None},
        {"status": "quarantined", "status_reason": "r" * 501},
    ],
    ids=lambda body: str(body)[:40],
)
def test_fields_that_are_fixed_unknown_or_ill_formed_are_invalid(
    farm: Farm, user: dict[str, Any], body: dict[str, Any]
) -> None:
    answer = farm.change(user["id"], **{"domain": "canary", **body})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][0] == "body"
    assert farm.user(user["id"]) == user


def test_a_rejected_password_is_not_repeated(farm: Farm, user: dict[str, Any]) -> None:
    assert "planted" not in farm.change(user["id"], password="planted", login="x").text
    assert "planted" not in farm.change(user["id"], password=["planted"]).text


def test_a_user_nobody_knows_cannot_be_changed(farm: Farm) -> None:
    refused(farm.change(NOBODY, env="prod"), 404, "user-not-found")
    assert farm.change("no-uuid", env="prod").status_code == 422


def test_changes_at_the_same_time_are_all_kept(farm: Farm, user: dict[str, Any]) -> None:
    bodies: list[dict[str, Any]] = [{"env": "prod"}, {"domain": "canary"}, {"labels": {}}, {"status": "quarantined"}]

    calls = [farm.meanwhile(farm.change, user["id"], **body) for body in bodies]

    assert {call.result(patience.limit(10)).status_code for call in calls} == {200}
    after = farm.user(user["id"])
    assert {name: after[name] for body in bodies for name in body} == {k: v for body in bodies for k, v in body.items()}
    assert farm.changes(user["id"]) == ["user.created"] + ["user.updated"] * 4
