"""Listing users: filters, pages and their links."""

import uuid
from typing import Any

import httpx
import pytest

from tests.api.farms import USERS, Farm, next_of


@pytest.fixture
def project_id() -> str:
    """A project of this test alone, so that its lists hold nobody else."""
    return str(uuid.uuid4())


def logins(farm: Farm, **query: Any) -> list[str]:
    answer = farm.client.get(f"{USERS}/", params=query)
    assert answer.status_code == 200, answer.text
    return [user["login"] for user in answer.json()]


def walk(farm: Farm, path: str) -> list[httpx.Response]:
    """The pages from this path on, as their links lead."""
    pages = [farm.client.get(path)]
    while following := next_of(pages[-1]):
        pages.append(farm.client.get(following))
    return pages


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_the_pages_hold_every_user_once_in_the_order_of_logins(farm: Farm, project_id: str, limit: int) -> None:
    made = sorted(f"{project_id}-{name}" for name in ("a", "b", "C", "ü", "é", "%&=", "zz z"))
    for login in reversed(made):
        farm.new_user(login=login, project_id=project_id)

    pages = walk(farm, f"{USERS}/?project_id={project_id}&limit={limit}")

    assert [user["login"] for page in pages for user in page.json()] == made
    assert all(len(page.json()) == limit for page in pages[:-1])
    assert pages[-1].json()


def test_pages_keep_their_filter(farm: Farm, project_id: str) -> None:
    for number in range(4):
        farm.new_user(login=f"{project_id}-{number}", project_id=project_id, labels={"odd": str(number % 2), "a": "&="})

    pages = walk(farm, f"{USERS}?label=odd:1&project_id={project_id}&limit=1&label=a:%26%3D")

    assert [user["login"] for page in pages for user in page.json()] == [f"{project_id}-1", f"{project_id}-3"]


def test_a_user_made_while_somebody_pages_disturbs_no_page(farm: Farm, project_id: str) -> None:
    for name in ("b", "d", "f"):
        farm.new_user(login=f"{project_id}-{name}", project_id=project_id)
    first = farm.client.get(f"{USERS}/", params={"project_id": project_id, "limit": 2})

    farm.new_user(login=f"{project_id}-a", project_id=project_id)
    second = farm.client.get(next_of(first) or "")

    assert [user["login"][-1] for page in (first, second) for user in page.json()] == ["b", "d", "f"]


def test_a_page_holds_100_users_unless_asked(farm: Farm, project_id: str) -> None:
    rows = [{"login": f"{project_id}-{n:03}", "project_id": project_id} for n in range(101)]
    farm.client.post(f"{USERS}/batch", json=rows)

    assert len(logins(farm, project_id=project_id)) == 100
    assert len(logins(farm, project_id=project_id, limit=1_000)) == 101


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "", "ten", "1.5", "true", "99999999999999999999"])
def test_a_limit_is_1_to_1000(farm: Farm, limit: str) -> None:
    assert farm.client.get(f"{USERS}/", params={"limit": limit}).status_code == 422


@pytest.mark.parametrize("field", ["env", "domain"])
def test_env_and_domain_filter(farm: Farm, project_id: str, field: str) -> None:
    for value in ("one", "two"):
        farm.new_user(login=f"{project_id}-{value}", project_id=project_id, **{field: value})

    assert logins(farm, project_id=project_id, **{field: "two"}) == [f"{project_id}-two"]


def test_all_labels_asked_for_must_be_there(farm: Farm, project_id: str) -> None:
    farm.new_user(login=f"{project_id}-both", project_id=project_id, labels={"os": "mac", "tz": "utc:1", "x": ""})
    farm.new_user(login=f"{project_id}-one", project_id=project_id, labels={"os": "mac"})

    def found(*labels: str) -> list[str]:
        return [login[-3:] for login in logins(farm, project_id=project_id, label=list(labels))]

    assert found("os:mac") == ["oth", "one"]
    assert found("os:mac", "tz:utc:1") == ["oth"]
    assert found("os:mac", "x:") == ["oth"]
    assert found("os:mac", "tz:utc:2") == []
    assert found("os:mac", "os:win") == []
    assert found("os:win", "os:mac") == []
    assert found("os:mac", "os:mac") == ["oth", "one"]


@pytest.mark.parametrize("label", ["", "os", ":mac", "os mac"])
def test_a_label_filter_is_a_key_and_a_value(farm: Farm, label: str) -> None:
    assert farm.client.get(f"{USERS}/", params={"label": label}).status_code == 422


def test_locked_and_owner_look_at_locks_in_force(farm: Farm, project_id: str) -> None:
    for name in ("free", "held", "lapsed"):
        user = farm.new_user(login=f"{project_id}-{name}", project_id=project_id)
        if name != "free":
            farm.acquire(user["id"], owner="list-owner")
        if name == "lapsed":
            farm.lapse(user["id"])

    assert logins(farm, project_id=project_id, locked=True) == [f"{project_id}-held"]
    assert logins(farm, project_id=project_id, locked=False) == [f"{project_id}-free", f"{project_id}-lapsed"]
    assert logins(farm, project_id=project_id, owner="list-owner") == [f"{project_id}-held"]
    assert logins(farm, project_id=project_id, owner="list-own") == []


def test_status_filters(farm: Farm, project_id: str) -> None:
    for name in ("fit", "ill"):
        farm.new_user(login=f"{project_id}-{name}", project_id=project_id)
    farm.execute("UPDATE users SET status = 'quarantined' WHERE login = :login", login=f"{project_id}-ill")

    assert logins(farm, project_id=project_id, status="active") == [f"{project_id}-fit"]
    assert logins(farm, project_id=project_id, status="quarantined") == [f"{project_id}-ill"]


def test_login_is_exact_and_a_prefix_is_taken_literally(farm: Farm, project_id: str) -> None:
    for name in ("a%b", "a%bc", "axb", "a_b", "A%b"):
        farm.new_user(login=f"{project_id}{name}", project_id=project_id)

    assert logins(farm, login=f"{project_id}a%b") == [f"{project_id}a%b"]
    assert logins(farm, login_prefix=f"{project_id}a%") == [f"{project_id}a%b", f"{project_id}a%bc"]
    assert logins(farm, login_prefix=f"{project_id}a_") == [f"{project_id}a_b"]


def test_project_none_means_without_project(farm: Farm, project_id: str) -> None:
    farm.new_user(login=f"{project_id}-in", project_id=project_id)
    farm.new_user(login=f"{project_id}-out")

    assert logins(farm, project_id="none", login_prefix=project_id) == [f"{project_id}-out"]
    assert logins(farm, project_id=project_id, login_prefix=project_id) == [f"{project_id}-in"]
    assert logins(farm, login_prefix=project_id) == [f"{project_id}-in", f"{project_id}-out"]


@pytest.mark.parametrize(
    "query",
    [
        {"project_id": "nil"},
        {"env": "STAGE"},
        {"locked": "maybe"},
        {"status": "lost"},
        {"login": ""},
        {"login_prefix": "a\0"},
        {"owner": "\x1b"},
        {"label": "a:\0"},
        {"label": "\0:a"},
    ],
    ids=str,
)
def test_a_filter_that_can_match_nothing_is_invalid(farm: Farm, query: dict[str, str]) -> None:
    assert farm.client.get(f"{USERS}/", params=query).status_code == 422


@pytest.mark.parametrize(
    "after", ["", "x", "1-1", "bG9naW46AA", "bG9naW4", "é", "====", "%00", "a" * 999, "bG9naW46_w"]
)
def test_a_cursor_that_no_page_gave_out_is_refused(farm: Farm, after: str) -> None:
    answer = farm.client.get(f"{USERS}/", params={"after": after})

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:botfarm:problem:cursor-malformed"
