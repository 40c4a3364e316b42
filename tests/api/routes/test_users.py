"""Creating a user and reading it."""

import re
import unicodedata
from typing import Any

import pytest

from tests.api.farms import NOBODY, USERS, Farm

FIELDS = {
    "id",
    "login",
    "project_id",
    "env",
    "domain",
    "labels",
    "status",
    "status_reason",
    "created_at",
    "updated_at",
    "locked",
    "locktime",
    "lock",
    "lock_version",
    "available_at",
}
LOCK_FIELDS = {"owner", "token", "acquired_at", "expires_at", "ttl_seconds", "metadata"}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
PROJECT = "5f2b8d1e-7d0a-4c53-9a0f-0a8c6ad6f001"


def test_a_user_has_exactly_its_public_fields(farm: Farm) -> None:
    created = farm.new_user(login="public-fields", password="s3cret")

    assert set(created) == FIELDS
    assert created == farm.user(created["id"])


def test_what_is_not_given_has_its_default(farm: Farm) -> None:
    created = farm.new_user(login="defaults")

    assert {name: created[name] for name in FIELDS - {"id", "created_at", "updated_at"}} == {
        "login": "defaults",
        "project_id": None,
        "env": "stage",
        "domain": "regular",
        "labels": {},
        "status": "active",
        "status_reason": None,
        "locked": False,
        "locktime": None,
        "lock": None,
        "lock_version": 1,
        "available_at": None,
    }


def test_what_is_given_is_kept(farm: Farm) -> None:
    given = {"project_id": PROJECT, "env": "prod", "domain": "canary_2", "labels": {"shard": "a:b", "empty": ""}}

    created = farm.new_user(**given)

    assert {name: farm.user(created["id"])[name] for name in given} == given


def test_timestamps_have_microseconds_and_z(farm: Farm, user_id: str) -> None:
    answer = farm.acquire(user_id).json()

    moments = [
        answer["created_at"],
        answer["updated_at"],
        answer["locktime"],
        answer["server_time"],
        answer["lock"]["acquired_at"],
        answer["lock"]["expires_at"],
    ]
    assert [moment for moment in moments if not TIMESTAMP.fullmatch(moment)] == []


def test_a_timestamp_on_a_whole_second_keeps_its_microseconds(farm: Farm, user_id: str) -> None:
    farm.execute("UPDATE users SET created_at = '2026-01-02 03:04:05+00' WHERE id = :id", id=user_id)

    assert farm.user(user_id)["created_at"] == "2026-01-02T03:04:05.000000Z"


def test_a_locked_user_shows_its_lock_and_never_its_secrets(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id, owner="ci-4711", metadata={"job": "17"}).json()["lease_id"]

    shown = farm.client.get(f"{USERS}/{user_id}")
    listed = farm.client.get(f"{USERS}/", params={"login": shown.json()["login"]})
    lock = farm.lock(user_id, consistent=True)

    assert set(shown.json()) == set(listed.json()[0]) == FIELDS
    assert set(shown.json()["lock"]) == set(lock.json()["lock"]) == LOCK_FIELDS
    assert shown.json()["lock"]["owner"] == "ci-4711"
    assert shown.json()["lock"]["metadata"] == {"job": "17"}
    assert shown.json()["locktime"] == shown.json()["lock"]["acquired_at"]
    for answer in (shown, listed, lock):
        assert "s3cret" not in answer.text
        assert lease_id not in answer.text


def test_a_lapsed_lock_is_not_shown(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id)

    farm.lapse(user_id)

    assert farm.user(user_id)["locktime"] is None
    assert farm.user(user_id)["lock"] is None


def test_what_is_left_of_a_lock_counts_down(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, ttl_seconds=100)

    farm.execute(
        "UPDATE users SET lock_expires_at = lock_expires_at - interval '40 seconds' WHERE id = :id", id=user_id
    )

    assert 30 < farm.user(user_id)["lock"]["ttl_seconds"] < 60


def test_an_unknown_user_is_not_found(farm: Farm) -> None:
    answer = farm.client.get(f"{USERS}/{NOBODY}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:botfarm:problem:user-not-found"


def test_creating_a_user_is_its_first_event(farm: Farm, user_id: str) -> None:
    assert farm.changes(user_id) == ["user.created"]


@pytest.mark.parametrize(
    "login",
    ["", "a" * 255, "tab\there", "nul\0", "line\n", "\x7f", "\x85", "\u200b\x1b[31m", None, 7, ["a"], {"a": 1}],
    ids=repr,
)
def test_a_login_is_1_to_254_printable_characters(farm: Farm, login: object) -> None:
    answer = farm.client.post(f"{USERS}/", json={"login": login})

    assert answer.status_code == 422
    assert [error["loc"][:2] for error in answer.json()["errors"]] == [["body", "login"]]


@pytest.mark.parametrize("login", ["a", "b" * 254, "мария", "日本語", "a b", "'; DROP TABLE users;--", "%_\\", "🤖"])
def test_any_printable_login_is_kept_as_it_is(farm: Farm, login: str) -> None:
    created = farm.new_user(login=login)

    assert created["login"] == login
    assert [each["id"] for each in farm.client.get(f"{USERS}/", params={"login": login}).json()] == [created["id"]]


@pytest.mark.parametrize(
    "body",
    [
        rb'{"login": "\ud800"}',
        rb'{"login": "a", "password": "\udfff"}',
        rb'{"login": "a", "labels": {"\ud800": "a"}}',
        rb'{"login": "a", "labels": {"a": "\ud800"}}',
        rb'{"login": "a", "env": "\ud800"}',
        rb'{"login": "a", "\ud800": "an unknown field"}',
    ],
    ids=["login", "password", "label key", "label value", "env", "field"],
)
def test_half_a_surrogate_pair_is_invalid_wherever_it_stands(farm: Farm, body: bytes) -> None:
    answer = farm.client.post(f"{USERS}/", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_logins_that_look_alike_are_one(farm: Farm) -> None:
    composed, decomposed = (unicodedata.normalize(form, "josé-nfc") for form in ("NFC", "NFD"))
    first = farm.new_user(login=decomposed)

    second = farm.client.post(f"{USERS}/", json={"login": composed})

    assert first["login"] == composed
    assert second.status_code == 400
    assert second.json()["type"] == "urn:botfarm:problem:login-taken"
    assert farm.client.get(f"{USERS}/", params={"login": decomposed}).json()[0]["id"] == first["id"]


@pytest.mark.parametrize("field", ["env", "domain"])
@pytest.mark.parametrize("slug", ["", "Stage", "a b", "-a", "é", "a" * 64, "a\n", 1, None])
def test_env_and_domain_are_lower_case_slugs(farm: Farm, field: str, slug: object) -> None:
    answer = farm.client.post(f"{USERS}/", json={"login": "slug", field: slug})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", field]


@pytest.mark.parametrize(
    "fields",
    [
        {"project_id": "none"},
        {"password": ""},
        {"password": "p" * 1_025},
        {"password": 12345},
        {"labels": {"": "empty key"}},
        {"labels": {"a:b": "a key that no filter could name"}},
        {"labels": {"a": 1}},
        {"labels": {"a": "b" * 201}},
        {"labels": {str(n): "x" for n in range(65)}},
        {"labels": [["a", "b"]]},
        {"status": "active"},
        {"lock_version": 7},
        {"Login": "misspelt"},
    ],
    ids=",".join,
)
def test_other_fields_are_checked_too_and_unknown_ones_refused(farm: Farm, fields: dict[str, Any]) -> None:
    answer = farm.client.post(f"{USERS}/", json={"login": "invalid-field", **fields})

    assert answer.status_code == 422
    assert farm.client.get(f"{USERS}/", params={"login": "invalid-field"}).json() == []


@pytest.mark.parametrize("password", ["p", "p" * 1_024, "pass\0word\n", "пароль 🔑", "</script>"])
def test_a_password_is_given_back_unchanged_to_the_holder(farm: Farm, password: str) -> None:
    user_id = farm.new_user(password=password)["id"]

    assert farm.acquire(user_id).json()["password"] == password


def test_a_user_without_a_password_has_none_to_give(farm: Farm) -> None:
    assert farm.acquire(farm.new_user()["id"]).json()["password"] is None
