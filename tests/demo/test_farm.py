"""Loading the sample users."""

import json
import uuid
from typing import Any

import httpx
import pytest

from demo import farm
from demo.errors import DemoError


class FakeApi:
    """Creates users, knows logins, lists one user a page."""

    def __init__(self, *known: str) -> None:
        self.ids = {login: str(uuid.uuid4()) for login in known}
        self.batches: list[int] = []

    def client(self) -> httpx.Client:
        return httpx.Client(base_url="http://api/api/v1/", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            rows = json.loads(request.content)
            self.batches.append(len(rows))
            return httpx.Response(200, json={"results": [self._create(row) for row in rows]})
        return self._page(int(request.url.params.get("after", 0)))

    def _create(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["login"] in self.ids:
            return {"status": 400, "problem": {"type": "urn:botfarm:problem:login-taken"}}
        if row["login"] == "wrong":
            return {
                "status": 422,
                "problem": {"type": "urn:botfarm:problem:invalid-request", "title": "Invalid request"},
            }
        self.ids[row["login"]] = str(uuid.uuid4())
        return {"status": 201, "user": {"id": self.ids[row["login"]]}}

    def _page(self, place: int) -> httpx.Response:
        login, id_ = list(self.ids.items())[place]
        more = {"Link": f'</api/v1/users/?after={place + 1}>; rel="next"'} if place + 1 < len(self.ids) else {}
        return httpx.Response(200, json=[{"login": login, "id": id_}], headers=more)


def load(api: FakeApi, *logins: str) -> farm.Farm:
    with api.client() as http:
        return farm.load(http, [{"login": login} for login in logins], loaded=lambda _: None)


def test_the_sample_has_5000_users_of_different_logins() -> None:
    rows = farm.rows()

    assert len({row["login"] for row in rows}) == 5_000
    assert all(row["labels"] and "password" in row for row in rows)


def test_a_field_left_blank_in_the_file_is_left_out() -> None:
    without_project = [row for row in farm.rows() if "project_id" not in row]

    assert 0 < len(without_project) < 5_000
    assert not any(value == "" for row in farm.rows() for value in row.values())


def test_users_are_created_in_batches_and_counted() -> None:
    api, counts = FakeApi(), list[int]()

    with api.client() as http:
        loaded = farm.load(http, [{"login": str(n)} for n in range(600)], loaded=counts.append)

    assert api.batches == [250, 250, 100]
    assert counts == [250, 500, 600]
    assert (len(loaded.created), loaded.already) == (600, [])


def test_users_that_are_there_already_are_found_page_by_page() -> None:
    api = FakeApi("ada", "others", "eve")

    loaded = load(api, "ada", "eve", "new")

    assert loaded.created == [api.ids["new"]]
    assert loaded.already == [api.ids["ada"], api.ids["eve"]]
    assert len(loaded.users) == 3


def test_a_refused_user_ends_the_demo_with_a_line() -> None:
    with pytest.raises(DemoError, match="refuses user wrong: Invalid request"):
        load(FakeApi(), "wrong")
