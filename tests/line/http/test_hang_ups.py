"""Callers who hang up, and requests that are cancelled while they wait: neither ever holds a user."""

import socket
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import patience
from tests.api.farms import USERS, Farm, farming
from tests.api.locking.pools import Pool, Standing, ids, new_pool, refused, stand_for, state
from tests.patience import eventually

SOON = 0.9


@pytest.fixture(scope="module")
def second(farm: Farm) -> Iterator[Farm]:
    """Another API on the same database."""
    with farming(farm.settings) as second:
        yield second


@pytest.fixture
def deaf(second: Farm, monkeypatch: pytest.MonkeyPatch) -> Farm:
    """The other API while its callers are told nothing of what they were granted."""
    for name in ("_answer", "_catch_up"):
        monkeypatch.setattr(second.app.state.services.dispatcher, name, lambda *_: None)
    return second


@pytest.fixture
def one(farm: Farm) -> Pool:
    """One user, held."""
    pool = new_pool(farm, 1)
    pool.take()
    return pool


@pytest.fixture
def request_id() -> str:
    return str(uuid.uuid4())


def dial(farm: Farm, path: str, **body: Any) -> socket.socket:
    """The bare connection of a call that waits in line."""
    connection = farm.dial(f"{USERS}{path}", wait_seconds=20, **body)
    assert eventually(lambda: state(farm, body.get("request_id") or body["lease_id"]) == "waiting")
    return connection


@pytest.mark.parametrize("kind", ["pool", "single"])
def test_who_hangs_up_while_waiting_is_passed_over(farm: Farm, one: Pool, request_id: str, kind: str) -> None:
    (user_id,) = one.user_ids
    if kind == "pool":
        connection = dial(farm, "/acquire_lock", project_id=one.project_id, request_id=request_id)
    else:
        connection = dial(farm, f"/{user_id}/acquire_lock", lease_id=request_id)
    next_one = one.stand()

    connection.close()
    assert eventually(lambda: state(farm, request_id) == "detached")
    farm.release(user_id)

    assert next_one.granted(seconds=SOON) == [user_id]
    assert farm.endings(user_id) == ["holder"]


def test_of_a_hang_up_and_a_grant_at_the_same_moment_nobody_is_left_with_the_user(farm: Farm) -> None:
    for _ in range(10):
        pool, request_id = new_pool(farm, 1), str(uuid.uuid4())
        pool.take()
        connection = dial(farm, "/acquire_lock", project_id=pool.project_id, request_id=request_id)
        next_one = pool.stand()

        releasing = farm.meanwhile(farm.release, pool.user_ids[0])
        connection.close()
        releasing.result(patience.limit(5))

        assert eventually(answered(next_one, pool, request_id))
        if next_one.waits:  # the answer was under way already: it is the client's to ask again
            farm.cancel(request_id)
        assert next_one.granted(seconds=3) == pool.user_ids


def answered(next_one: Standing, pool: Pool, request_id: str) -> Callable[[], bool]:
    """Whether the next in line has the user, or the one who hung up can have it for the asking."""
    return lambda: not next_one.waits or pool.ask(request_id=request_id).status_code == 200


def test_a_grant_whose_caller_hung_up_before_the_answer_is_unclaimed(
    farm: Farm, deaf: Farm, one: Pool, request_id: str
) -> None:
    (user_id,) = one.user_ids
    connection = dial(deaf, "/acquire_lock", project_id=one.project_id, request_id=request_id)
    next_one = one.stand()
    farm.release(user_id)
    assert eventually(lambda: state(farm, request_id) == "granted")

    connection.close()

    assert next_one.granted(seconds=3) == [user_id]
    assert farm.endings(user_id) == ["holder", "unclaimed"]


@pytest.mark.parametrize("kind", ["pool", "single"])
def test_a_grant_whose_caller_hung_up_is_kept_if_it_was_asked_for_again(
    farm: Farm, deaf: Farm, one: Pool, request_id: str, kind: str
) -> None:
    (user_id,) = one.user_ids
    wishes: dict[str, Any] = {"project_id": one.project_id, "request_id": request_id}
    path = "/acquire_lock"
    if kind == "single":
        wishes, path = {"lease_id": request_id}, f"/{user_id}/acquire_lock"
    connection = dial(deaf, path, **wishes)
    farm.release(user_id)
    assert eventually(lambda: state(farm, request_id) == "granted")
    again = farm.client.post(f"{USERS}{path}", json=wishes)

    connection.close()

    assert again.status_code == 200
    assert eventually(lambda: not deaf.app.state.services.dispatcher._calls)
    assert farm.user(user_id)["lock"]
    assert farm.endings(user_id) == ["holder"]


def test_hanging_up_spoils_nothing_for_who_asked_again_elsewhere(
    farm: Farm, second: Farm, one: Pool, request_id: str
) -> None:
    (user_id,) = one.user_ids
    connection = dial(second, "/acquire_lock", project_id=one.project_id, request_id=request_id)
    again = one.stand(request_id=request_id)
    farm.release(user_id)
    assert again.granted(seconds=3) == [user_id]

    connection.close()

    assert eventually(lambda: not second.app.state.services.dispatcher._calls)
    assert farm.user(user_id)["lock"]
    assert ids(one.take(request_id=request_id)) == [user_id]


@pytest.mark.parametrize("wait_seconds", [0, 10])
def test_who_hung_up_may_ask_again(farm: Farm, one: Pool, request_id: str, wait_seconds: int) -> None:
    dial(farm, "/acquire_lock", project_id=one.project_id, request_id=request_id).close()
    farm.release(one.user_ids[0])

    assert eventually(lambda: one.ask(request_id=request_id, wait_seconds=wait_seconds).status_code == 200)


def test_a_cancelled_call_is_answered_at_once(farm: Farm, one: Pool) -> None:
    waiting = one.stand()
    single = stand_for(farm, one.user_ids[0])

    answers = [farm.cancel(standing.request_id) for standing in (waiting, single)]

    assert [answer.status_code for answer in answers] == [204, 204]
    for standing in (waiting, single):
        problem = refused(standing.answer(seconds=SOON), 404, "request-not-found")
        assert problem["request_id"] == standing.request_id


def test_a_call_that_is_cancelled_at_another_api_is_answered_soon(second: Farm, one: Pool) -> None:
    waiting = one.stand()

    second.cancel(waiting.request_id)

    refused(waiting.answer(seconds=1 + SOON), 404, "request-not-found")


def test_a_cancelled_request_is_no_longer_in_line(farm: Farm, one: Pool) -> None:
    first, second = one.stand(), one.stand()

    farm.cancel(first.request_id)
    farm.release(one.user_ids[0])

    assert second.granted(seconds=SOON)
    refused(farm.request(first.request_id), 404, "request-not-found")


def test_a_request_nobody_knows_cannot_be_cancelled(farm: Farm, request_id: str) -> None:
    refused(farm.cancel(request_id), 404, "request-not-found")
    assert farm.cancel("no-uuid").status_code == 422
