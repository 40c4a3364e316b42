"""The brief's three tests: what a client of the service that this one grew from sends and reads, and nothing else."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.main import create_app
from domain.configuration.settings import Settings
from tests import patience
from tests.api.servers import serving


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    with serving(create_app(settings)) as url, httpx.Client(base_url=url, timeout=patience.limit(30)) as client:
        yield client


def new_user() -> dict[str, Any]:
    return {
        "login": f"bot-{uuid.uuid4()}@example.com",
        "password": "s3cret",
        "project_id": str(uuid.uuid4()),
        "env": "prod",
        "domain": "regular",
    }


def test_create_user(client: httpx.Client) -> None:
    wanted = new_user()

    answer = client.post("/api/v1/users/", json=wanted)

    assert answer.status_code == 201
    created = answer.json()
    assert uuid.UUID(created["id"])
    assert created["login"] == wanted["login"]
    assert created["project_id"] == wanted["project_id"]
    assert (created["env"], created["domain"]) == ("prod", "regular")
    assert created["locked"] is False
    assert created["locktime"] is None
    assert client.post("/api/v1/users/", json=wanted).status_code == 400


def test_list_users(client: httpx.Client) -> None:
    first, second = (client.post("/api/v1/users/", json=new_user()).json()["id"] for _ in range(2))
    client.post(f"/api/v1/users/{second}/acquire_lock")

    answer = client.get("/api/v1/users/")

    assert answer.status_code == 200
    listed = answer.json()
    assert isinstance(listed, list)
    assert {user["id"]: user["locked"] for user in listed} == {first: False, second: True}


def test_acquire_and_release_lock(client: httpx.Client) -> None:
    user_id = client.post("/api/v1/users/", json=new_user()).json()["id"]

    acquired = client.post(f"/api/v1/users/{user_id}/acquire_lock")
    refused = client.post(f"/api/v1/users/{user_id}/acquire_lock")
    released = client.post(f"/api/v1/users/{user_id}/release_lock")
    acquired_again = client.post(f"/api/v1/users/{user_id}/acquire_lock")

    assert acquired.status_code == 200
    assert acquired.json()["id"] == user_id
    assert acquired.json()["locked"] is True
    assert acquired.json()["locktime"] is not None
    assert refused.status_code == 409
    assert released.status_code == 200
    assert released.json()["id"] == user_id
    assert released.json()["locked"] is False
    assert released.json()["locktime"] is None
    assert acquired_again.status_code == 200
