"""A key that ends while its caller waits in line: 401, and neither a user nor the place is left to it."""

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future  # noqa: TC003  -- for annotations
from typing import Any

import httpx
import pytest

from domain.configuration.settings import Settings
from tests.api.auth.keyrings import bearing, id_of, new_key, revoke
from tests.api.farms import LINE, USERS, Farm, farming
from tests.api.locking.pools import refused
from tests.patience import eventually

EFFECTIVE_SECONDS = 5.0


@pytest.fixture
def guarded(settings: Settings) -> Iterator[Farm]:
    with farming(settings.model_copy(update={"auth": "keys"})) as farm:
        yield farm


@pytest.fixture
def admin(guarded: Farm) -> Iterator[httpx.Client]:
    with bearing(guarded, new_key(guarded, "root", "admin")) as client:
        yield client


@pytest.fixture
def waiter(guarded: Farm) -> Iterator[httpx.Client]:
    """A caller whose key is to end."""
    with bearing(guarded, new_key(guarded, "waiter", "lock")) as client:
        yield client


@pytest.fixture
def user_id(admin: httpx.Client) -> str:
    """The one user that there is."""
    made = admin.post(f"{USERS}/", json={"login": uuid.uuid4().hex, "password": "s3cret"})
    return str(made.json()["id"])


@pytest.fixture
def lease_id(admin: httpx.Client, user_id: str) -> str:
    """The lease under which it is held."""
    return str(admin.post(f"{USERS}/{user_id}/acquire_lock").json()["lease_id"])


@pytest.fixture
def deaf(guarded: Farm, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """The farm while its callers are told nothing of what they were granted."""
    for name in ("_answer", "_catch_up"):
        monkeypatch.setattr(guarded.app.state.services.dispatcher, name, lambda *_: None)
    return guarded


def stand(farm: Farm, client: httpx.Client, path: str, **body: Any) -> "Future[httpx.Response]":
    """The call, returned as soon as it waits in line."""
    waiting = farm.callers.submit(client.post, f"{USERS}{path}", json={"wait_seconds": 30, **body})
    assert eventually(lambda: state(client, body.get("request_id") or body["lease_id"]) == "waiting")
    assert not waiting.done()
    return waiting


def state(client: httpx.Client, request_id: str) -> str:
    return str(client.get(f"{LINE}/{request_id}").json().get("state", "unknown"))


@pytest.mark.parametrize("kind", ["pool", "single"])
def test_a_call_in_line_whose_key_is_revoked_is_401_and_the_next_one_is_served(
    guarded: Farm, admin: httpx.Client, waiter: httpx.Client, user_id: str, lease_id: str, kind: str
) -> None:
    request_id = str(uuid.uuid4())
    named = {"request_id": request_id} if kind == "pool" else {"lease_id": request_id}
    waiting = stand(guarded, waiter, "/acquire_lock" if kind == "pool" else f"/{user_id}/acquire_lock", **named)
    next_one = stand(guarded, admin, "/acquire_lock", request_id=str(uuid.uuid4()))

    revoke(guarded, "waiter")
    answer = waiting.result(EFFECTIVE_SECONDS)
    left = state(admin, request_id)
    admin.post(f"{USERS}/{user_id}/release_lock", json={"lease_id": lease_id})
    served = next_one.result(EFFECTIVE_SECONDS).json()

    problem = refused(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert problem.keys() == {"type", "title", "status", "detail", "instance"}  # neither a holder nor a place is told
    assert left == "unknown"
    assert [user["id"] for user in served["users"]] == [user_id]


def test_a_call_in_line_whose_key_is_revoked_is_granted_nothing_when_nobody_else_waits(
    guarded: Farm, admin: httpx.Client, waiter: httpx.Client, user_id: str, lease_id: str
) -> None:
    waiting = stand(guarded, waiter, "/acquire_lock", request_id=str(uuid.uuid4()))

    revoke(guarded, "waiter")
    answer = waiting.result(EFFECTIVE_SECONDS)
    admin.post(f"{USERS}/{user_id}/release_lock", json={"lease_id": lease_id})
    time.sleep(0.5)

    refused(answer, 401, "unauthenticated")
    assert admin.get(f"{USERS}/{user_id}").json()["lock"] is None


def test_a_grant_that_comes_as_the_key_ends_is_undone_and_not_answered(
    deaf: Farm, admin: httpx.Client, waiter: httpx.Client, user_id: str, lease_id: str
) -> None:
    request_id = str(uuid.uuid4())
    waiting = stand(deaf, waiter, "/acquire_lock", request_id=request_id)
    admin.post(f"{USERS}/{user_id}/release_lock", json={"lease_id": lease_id})
    assert eventually(lambda: state(admin, request_id) == "granted")

    revoke(deaf, "waiter")
    answer = waiting.result(EFFECTIVE_SECONDS)

    refused(answer, 401, "unauthenticated")
    assert "s3cret" not in answer.text
    assert admin.get(f"{USERS}/{user_id}").json()["lock"] is None
    assert deaf.endings(user_id) == ["holder", "unclaimed"]


def test_the_place_of_a_principal_is_left_to_its_other_key(
    guarded: Farm, admin: httpx.Client, waiter: httpx.Client, user_id: str, lease_id: str
) -> None:
    request_id = str(uuid.uuid4())
    waiting = stand(guarded, waiter, "/acquire_lock", request_id=request_id)
    rotated = admin.post(f"/api/v1/keys/{id_of(guarded, 'waiter')}/rotate", json={"overlap_seconds": 0}).json()

    with bearing(guarded, rotated["key"]) as other:
        again = stand(guarded, other, "/acquire_lock", request_id=request_id)
        answer = waiting.result(EFFECTIVE_SECONDS)
        admin.post(f"{USERS}/{user_id}/release_lock", json={"lease_id": lease_id})
        served = again.result(EFFECTIVE_SECONDS)

    refused(answer, 401, "unauthenticated")
    assert [user["id"] for user in served.json()["users"]] == [user_id]


def test_a_call_in_line_whose_key_is_good_goes_on_waiting(
    guarded: Farm, admin: httpx.Client, waiter: httpx.Client, user_id: str, lease_id: str
) -> None:
    waiting = stand(guarded, waiter, "/acquire_lock", request_id=str(uuid.uuid4()))
    new_key(guarded, "another", "lock")
    revoke(guarded, "another")

    time.sleep(EFFECTIVE_SECONDS)
    admin.post(f"{USERS}/{user_id}/release_lock", json={"lease_id": lease_id})

    assert waiting.result(EFFECTIVE_SECONDS).status_code == 200
