"""Looking at the waiting line."""

import re
import uuid
from typing import Any

import pytest

from tests.api.farms import LINE, Farm
from tests.api.locking.pools import Pool, Standing, new_pool, refused, stand_for, state
from tests.api.routes.test_users import TIMESTAMP

FIELDS = {
    "request_id",
    "principal",
    "owner",
    "state",
    "position",
    "priority",
    "user_id",
    "project_id",
    "env",
    "domain",
    "labels",
    "count",
    "created_at",
    "waited_seconds",
    "matching",
    "holders",
}


@pytest.fixture
def pool(farm: Farm) -> Pool:
    """Two users, held by `first` and `second`."""
    pool = new_pool(farm, 2, env="prod")
    for owner in ("first", "second"):
        pool.take(owner=owner)
    return pool


def line(farm: Farm, *standing: Standing, path: str = "/", **query: Any) -> list[dict[str, Any]]:
    """These requests as the line shows them, in its order."""
    answer = farm.client.get(f"{LINE}{path}", params=query)
    assert answer.status_code == 200, answer.text
    wanted = {each.request_id for each in standing}
    return [shown for shown in answer.json() if shown["request_id"] in wanted]


def leave(farm: Farm, *standing: Standing) -> None:
    for each in standing:
        farm.cancel(each.request_id)


def test_the_line_is_shown_from_its_head_with_each_ones_place(farm: Farm, pool: Pool) -> None:
    old, young, urgent = pool.stand(), pool.stand(count=2), pool.stand(priority=9)

    shown = line(farm, old, young, urgent, limit=1_000)

    expected = [(urgent, 1, 9, 1), (old, 2, 0, 1), (young, 3, 0, 2)]
    assert [(each["request_id"], each["position"], each["priority"], each["count"]) for each in shown] == [
        (standing.request_id, *rest) for standing, *rest in expected
    ]
    assert {each["state"] for each in shown} == {"waiting"}
    leave(farm, old, young, urgent)


def test_a_request_is_shown_with_what_it_asks_for(farm: Farm, pool: Pool) -> None:
    waiting = pool.stand(env="prod", domain="regular", labels={}, owner="ci-4711")

    (shown,) = line(farm, waiting)
    explained = farm.request(waiting.request_id).json()

    assert set(shown) == set(explained) == FIELDS
    for each in (shown, explained):
        assert (each["principal"], each["owner"], each["state"]) == ("anonymous", "ci-4711", "waiting")
        wish = {name: each[name] for name in ("user_id", "project_id", "env", "domain", "labels", "count")}
        assert wish == {
            "user_id": None,
            "project_id": pool.project_id,
            "env": "prod",
            "domain": "regular",
            "labels": {},
            "count": 1,
        }
        assert TIMESTAMP.fullmatch(each["created_at"])
        assert 0 < each["waited_seconds"] < 10
    leave(farm, waiting)


def test_one_request_is_explained_by_who_has_what_it_could_take(farm: Farm, pool: Pool) -> None:
    soon, late = pool.user_ids
    farm.execute("UPDATE users SET lock_expires_at = lock_expires_at - interval '60 s' WHERE id = :id", id=soon)
    waiting = pool.stand()

    explained = farm.request(waiting.request_id).json()

    assert explained["matching"] == 2
    held = [farm.user(user_id) for user_id in (soon, late)]
    assert explained["holders"] == [
        {
            "user_id": user["id"],
            "login": user["login"],
            "owner": user["lock"]["owner"],
            "expires_at": user["lock"]["expires_at"],
        }
        for user in held
    ]
    leave(farm, waiting)


def test_a_request_for_one_user_names_it_and_its_holder(farm: Farm, pool: Pool) -> None:
    waiting = stand_for(farm, pool.user_ids[1])

    explained = farm.request(waiting.request_id).json()

    assert (explained["user_id"], explained["matching"], explained["count"]) == (pool.user_ids[1], 1, 1)
    assert [holder["user_id"] for holder in explained["holders"]] == [pool.user_ids[1]]
    leave(farm, waiting)


def test_no_lease_and_no_password_is_shown(farm: Farm) -> None:
    pool = new_pool(farm, 1, password="s3cret")
    held = pool.take()["users"][0]
    waiting = pool.stand()

    body = farm.request(waiting.request_id).text + farm.client.get(f"{LINE}/").text

    assert held["lease_id"] not in body
    assert "s3cret" not in body
    assert not re.search("password|lease", body)
    leave(farm, waiting)


def test_a_call_whose_wait_ends_is_detached_and_keeps_its_place(farm: Farm, pool: Pool) -> None:
    waiting = pool.stand(wait_seconds=1)
    waiting.answer()

    explained = farm.request(waiting.request_id).json()

    assert (explained["state"], explained["position"]) == ("detached", 1)
    assert line(farm, waiting)


def test_a_request_that_was_granted_has_no_place_and_is_not_in_line(farm: Farm, pool: Pool) -> None:
    waiting = pool.stand()
    farm.release(pool.user_ids[0])
    waiting.answer()

    explained = farm.request(waiting.request_id).json()

    assert (explained["state"], explained["position"]) == ("granted", None)
    assert line(farm, waiting) == []


def test_a_request_that_did_not_have_to_wait_is_known_too(farm: Farm) -> None:
    taken = new_pool(farm, 1).take()

    assert state(farm, taken["request_id"]) == "granted"


def test_the_line_is_shown_with_and_without_the_last_slash_up_to_a_limit(farm: Farm, pool: Pool) -> None:
    first, second = pool.stand(priority=100), pool.stand(priority=100)

    assert len(farm.client.get(LINE, params={"limit": 1}).json()) == 1
    assert [each["request_id"] for each in line(farm, first, second, path="")] == [first.request_id, second.request_id]
    leave(farm, first, second)


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_a_limit_is_1_to_1000(farm: Farm, limit: str) -> None:
    assert farm.client.get(LINE, params={"limit": limit}).status_code == 422


def test_a_request_nobody_knows_is_not_found(farm: Farm) -> None:
    request_id = str(uuid.uuid4())

    assert refused(farm.request(request_id), 404, "request-not-found")["request_id"] == request_id
    assert farm.request("no-uuid").status_code == 422
