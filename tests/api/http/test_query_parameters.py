"""A query parameter that a route does not know is refused: a misspelt filter must not match everything."""

import re
from typing import Any

import pytest

from api.main import create_app
from domain.configuration.settings import Settings
from tests.api.farms import Farm


def get_routes() -> list[str]:
    """Every path that takes GET, from the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = create_app(Settings()).openapi()["paths"]
    return [path for path, operations in paths.items() if "get" in operations]


def test_the_document_lists_the_get_routes() -> None:
    assert {"/api/v1/users/", "/api/v1/users/{user_id}", "/api/v1/events", "/health"} <= set(get_routes())


@pytest.mark.parametrize("path", [*get_routes(), "/api/v1/users", "/api/v1/events/", "/docs"])
@pytest.mark.parametrize("name", ["colour", "Limit", "limit[]", "user_id "])
def test_an_unknown_parameter_is_invalid_on_every_get_route(farm: Farm, user_id: str, path: str, name: str) -> None:
    answer = farm.client.get(path.format_map(Ids(user_id)), params={name: "1"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", name]


class Ids(dict[str, str]):
    """An id for whatever a path asks for."""

    def __init__(self, one: str) -> None:
        self.one = one

    def __missing__(self, _name: str) -> str:
        return self.one


@pytest.mark.parametrize("path", get_routes())
def test_every_get_route_answers_without_parameters(farm: Farm, user_id: str, path: str) -> None:
    with farm.client.stream("GET", path.format_map(Ids(user_id))) as answer:  # one never ends
        status = answer.status_code

    # There is no request or webhook of that id; what counts is that nothing is missing from the call.
    assert status == (404 if re.search("{(?!user_id)", path) else 200)


@pytest.mark.parametrize("path", ["/api/v1/users/", "/api/v1/users/{user_id}/acquire_lock"])
def test_an_unknown_parameter_is_invalid_on_a_change_too(farm: Farm, user_id: str, path: str) -> None:
    answer = farm.client.post(path.format(user_id=user_id), params={"ttl_seconds": "60"})

    assert answer.status_code == 422
    assert farm.user(user_id)["lock"] is None


def test_what_one_route_knows_another_does_not(farm: Farm, user_id: str) -> None:
    assert farm.client.get("/api/v1/events", params={"login": "a"}).status_code == 422
    assert farm.client.get(f"/api/v1/users/{user_id}/lock", params={"limit": "1"}).status_code == 422
    assert farm.client.get("/api/v1/users", params={"token": "1"}).status_code == 422
