"""Creating many users at once."""

from typing import Any

import httpx
import pytest

from tests.api.farms import USERS, Farm


def batch(farm: Farm, rows: object) -> httpx.Response:
    return farm.client.post(f"{USERS}/batch", json=rows)


def results(farm: Farm, rows: list[Any]) -> list[dict[str, Any]]:
    answer = batch(farm, rows)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def test_results_come_in_the_order_given(farm: Farm) -> None:
    logins = [f"order-{n}" for n in (3, 1, 2)]

    body = results(farm, [{"login": login} for login in logins])

    assert [result["status"] for result in body] == [201, 201, 201]
    assert [result["user"]["login"] for result in body] == logins
    assert [farm.user(result["user"]["id"]) for result in body] == [result["user"] for result in body]


def test_a_bad_row_never_fails_its_neighbours(farm: Farm) -> None:
    rows = [
        {"login": "neighbour-1"},
        {"login": "bad\0login"},
        {"login": "neighbour-2", "colour": "unknown field"},
        "no object",
        None,
        {},
        {"login": "neighbour-3", "labels": {"a": "b"}},
    ]

    body = results(farm, rows)

    assert [result["status"] for result in body] == [201, 422, 422, 422, 422, 422, 201]
    assert all(set(result) == {"status", "user" if result["status"] == 201 else "problem"} for result in body)
    assert all(result["problem"]["errors"] for result in body[1:6])


def test_a_row_with_half_a_surrogate_pair_fails_alone(farm: Farm) -> None:
    rows = rb'[{"login": "half-1"}, {"login": "\ud800"}, {"\ud800": 1}, {"login": "half-2"}]'

    answer = farm.client.post(f"{USERS}/batch", content=rows, headers={"Content-Type": "application/json"})

    assert [result["status"] for result in answer.json()["results"]] == [201, 422, 422, 201]


def test_a_login_twice_in_a_batch_goes_to_the_first(farm: Farm) -> None:
    body = results(farm, [{"login": "twice", "env": "one"}, {"login": "twice", "env": "two"}])

    assert [result["status"] for result in body] == [201, 400]
    assert body[0]["user"]["env"] == "one"
    assert body[1]["problem"]["type"] == "urn:botfarm:problem:login-taken"


def test_logins_are_one_in_a_batch_too_when_they_look_alike(farm: Farm) -> None:
    body = results(farm, [{"login": "zoe\u0308"}, {"login": "zo\u00eb"}])

    assert [result["status"] for result in body] == [201, 400]


def test_a_login_that_exists_is_refused_in_its_place(farm: Farm, user: dict[str, Any]) -> None:
    body = results(farm, [{"login": user["login"]}, {"login": "beside-a-taken-one"}])

    assert [result["status"] for result in body] == [400, 201]


def test_each_user_made_has_one_event(farm: Farm) -> None:
    body = results(farm, [{"login": "evented-1"}, {"login": "evented-1"}, {"login": "evented-2"}])

    assert [farm.changes(result["user"]["id"]) for result in (body[0], body[2])] == [["user.created"]] * 2


def test_a_thousand_rows_are_the_most(farm: Farm) -> None:
    rows = [{"login": f"many-{n:04}"} for n in range(1_001)]

    too_many = batch(farm, rows)
    just_enough = batch(farm, rows[:1_000])

    assert too_many.status_code == 422
    assert [result["status"] for result in just_enough.json()["results"]] == [201] * 1_000
    assert farm.client.get(f"{USERS}/", params={"login": "many-1000"}).json() == []


@pytest.mark.parametrize("rows", [[], {}, {"users": []}, None, "login", 7])
def test_a_batch_is_an_array_of_at_least_one_row(farm: Farm, rows: object) -> None:
    assert batch(farm, rows).status_code == 422


def test_no_result_ever_holds_a_password(farm: Farm) -> None:
    rows = [{"login": "batch-secret", "password": "planted"}] * 2
    bad = [{"login": "bad\n", "password": "planted"}, {"password": {"planted": "planted"}}, ["planted"], "planted"]

    answer = batch(farm, [*rows, *bad])

    assert [result["status"] for result in answer.json()["results"]] == [201, 400, 422, 422, 422, 422]
    assert "planted" not in answer.text
