"""The calls exactly as a client makes them that knows the two paths and nothing else: no key, no body, no header."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.farms import NOBODY, USERS, Farm

BODIES: dict[str, dict[str, Any]] = {
    "no body": {},
    "an empty body with a length": {"content": b"", "headers": {"Content-Length": "0"}},
    "an empty JSON body": {"content": b"", "headers": {"Content-Type": "application/json"}},
    "an empty form": {"content": b"", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
    "an empty multipart form": {"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    "an empty object": {"content": b"{}", "headers": {"Content-Type": "application/json"}},
    "null": {"content": b"null", "headers": {"Content-Type": "application/json; charset=utf-8"}},
}
any_body = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)


def test_a_user_is_created_with_a_login_alone(farm: Farm) -> None:
    answer = httpx.post(f"{farm.url}{USERS}/", json={"login": "plain-login"})

    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{USERS}/{answer.json()['id']}"
    assert farm.client.get(answer.headers["Location"]).json()["login"] == "plain-login"


def test_users_are_listed_without_any_parameter(farm: Farm, user: dict[str, Any]) -> None:
    answer = httpx.get(f"{farm.url}{USERS}/")

    assert answer.status_code == 200
    assert isinstance(answer.json(), list)
    assert all(set(user) == set(each) for each in answer.json())


@pytest.mark.parametrize("slash", ["", "/"])
def test_collections_answer_with_and_without_the_last_slash(farm: Farm, slash: str) -> None:
    login = f"slash-{len(slash)}"

    created = farm.client.post(f"{USERS}{slash}", json={"login": login})
    listed = farm.client.get(f"{USERS}{slash}", params={"login": login})
    events = farm.client.get(f"/api/v1/events{slash}")

    assert created.status_code == 201
    assert [each["login"] for each in listed.json()] == [login]
    assert events.status_code == 200


def test_a_login_is_given_once(farm: Farm) -> None:
    farm.new_user(login="given-once")

    answer = httpx.post(f"{farm.url}{USERS}/", json={"login": "given-once"})

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:botfarm:problem:login-taken"
    assert answer.json()["login"] == "given-once"


@any_body
def test_acquire_needs_no_body(farm: Farm, user_id: str, body: dict[str, Any]) -> None:
    answer = farm.client.post(f"{USERS}/{user_id}/acquire_lock", **body)

    assert answer.status_code == 200
    assert answer.json()["id"] == user_id
    assert answer.json()["lock"]["owner"] == "anonymous"
    assert answer.json()["lock"]["ttl_seconds"] == 900
    assert answer.json()["locked"] is True
    assert answer.json()["locktime"] == answer.json()["lock"]["acquired_at"]
    assert answer.json()["password"] == "s3cret"


@any_body
def test_release_needs_no_body(farm: Farm, user_id: str, body: dict[str, Any]) -> None:
    farm.acquire(user_id)

    answer = farm.client.post(f"{USERS}/{user_id}/release_lock", **body)

    assert answer.status_code == 200
    assert answer.json()["released"] is True
    assert answer.json()["locktime"] is None
    assert farm.user(user_id)["locktime"] is None


def test_every_answer_that_has_a_user_says_whether_it_is_locked(farm: Farm) -> None:
    made = farm.client.post(f"{USERS}/batch", json=[{"login": "says-locked", "env": "says-locked"}]).json()["results"]
    user_id, free = made[0]["user"]["id"], made[0]["user"]["locked"]
    (taken,) = farm.pool(env="says-locked").json()["users"]
    renewed = farm.renew(user_id, lease_id=taken["lease_id"]).json()
    changed = farm.change(user_id, labels={"a": "b"}).json()
    (listed,) = farm.client.get(f"{USERS}/", params={"login": "says-locked"}).json()
    released = farm.release(user_id).json()

    assert free is False
    assert [each["locked"] for each in (taken, renewed, changed, listed)] == [True] * 4
    assert released["locked"] is False


def test_a_request_of_bare_bytes_is_understood(farm: Farm, user_id: str) -> None:
    """What the simplest client of all sends: not even the headers that libraries add."""
    address = urlsplit(farm.url).netloc
    connection = http.client.HTTPConnection(address)
    connection.putrequest("POST", f"{USERS}/{user_id}/acquire_lock", skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", address)
    connection.endheaders()

    answer = connection.getresponse()
    body = json.load(answer)
    connection.close()

    assert (answer.status, body["lock"]["owner"]) == (200, "anonymous")


def test_a_locked_user_is_refused_with_its_owner_and_when_to_ask_again(farm: Farm, user_id: str) -> None:
    holder = farm.acquire(user_id).json()

    answer = httpx.post(f"{farm.url}{USERS}/{user_id}/acquire_lock")

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:botfarm:problem:lock-held"
    assert answer.json()["owner"] == "anonymous"
    assert answer.json()["expires_at"] == holder["lock"]["expires_at"]
    assert answer.headers["Retry-After"] == "60"
    assert "password" not in answer.json()


@pytest.mark.parametrize(("ttl_seconds", "least", "most"), [(5, 1, 5), (30, 20, 30), (86_400, 60, 60)])
def test_retry_after_is_what_is_left_in_whole_seconds_from_1_to_60(
    farm: Farm, user_id: str, ttl_seconds: int, least: int, most: int
) -> None:
    farm.acquire(user_id, ttl_seconds=ttl_seconds)

    answer = farm.acquire(user_id)

    assert answer.status_code == 409
    assert least <= int(answer.headers["Retry-After"]) <= most


def test_without_authentication_everybody_is_anonymous_and_may_release(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, owner="ci-4711")

    with httpx.Client() as somebody_else:
        answer = somebody_else.post(f"{farm.url}{USERS}/{user_id}/release_lock")

    assert answer.status_code == 200
    assert answer.json()["released"] is True
    assert farm.acquire(user_id).status_code == 200


def test_releasing_a_free_user_is_no_error_and_no_event(farm: Farm, user_id: str) -> None:
    answer = farm.client.post(f"{USERS}/{user_id}/release_lock")

    assert answer.status_code == 200
    assert answer.json()["released"] is False
    assert farm.changes(user_id) == ["user.created"]


@pytest.mark.parametrize("verb", ["acquire_lock", "release_lock"])
def test_a_user_that_does_not_exist_is_not_found(farm: Farm, verb: str) -> None:
    answer = farm.client.post(f"{USERS}/{NOBODY}/{verb}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:botfarm:problem:user-not-found"
    assert answer.json()["user_id"] == NOBODY
