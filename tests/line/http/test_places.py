"""Places in line: how they are told, how long they are kept, and how many there are."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from domain.configuration.settings import Settings
from domain.requests import queueing
from tests import patience
from tests.api.farms import USERS, Farm, farming
from tests.api.locking.pools import Pool, new_pool, refused, stand_for, state
from tests.api.servers import ApiProcess
from tests.patience import eventually

AGO = "UPDATE lock_requests SET seen_at = seen_at - make_interval(secs => :seconds) WHERE request_id = :request_id"
DEAD = """
UPDATE homes SET seen_at = seen_at - interval '5 s'
WHERE id = (SELECT home FROM lock_requests WHERE request_id = :id)
"""
UNFETCHED = "UPDATE lock_requests SET granted_at = granted_at - interval '3 s' WHERE request_id = :id"


@pytest.fixture
def one(farm: Farm) -> Pool:
    """One user, held."""
    pool = new_pool(farm, 1)
    pool.take(owner="holder")
    return pool


@pytest.fixture
def crashing(settings: Settings, process: ApiProcess) -> Iterator[tuple[Farm, str]]:
    """A farm, and a second API on its database that may be killed: its address."""
    with farming(settings) as farm:
        process.start()
        yield farm, process.url


def test_a_pool_call_whose_wait_ends_is_answered_with_its_place(one: Pool) -> None:
    first = one.stand(wait_seconds=1)

    answer = first.answer(seconds=3)

    problem = refused(answer, 409, "no-user-free")
    assert (problem["request_id"], problem["position"]) == (first.request_id, 1)
    assert answer.headers["Retry-After"] == "1"


def test_a_call_for_one_user_whose_wait_ends_is_answered_with_its_place_and_the_holder(one: Pool) -> None:
    (user_id,) = one.user_ids
    waiting = stand_for(one.farm, user_id, wait_seconds=1)

    answer = waiting.answer(seconds=3)

    problem = refused(answer, 409, "lock-held")
    assert (problem["request_id"], problem["position"]) == (waiting.request_id, 1)
    assert (problem["owner"], problem["user_id"]) == ("holder", user_id)
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_a_place_counts_those_before_who_ask_for_the_same(one: Pool) -> None:
    ahead = [one.stand(wait_seconds=3), one.stand(wait_seconds=3, priority=5)]
    behind = one.stand(wait_seconds=3, priority=-1)
    mine = one.stand(wait_seconds=1)

    assert refused(mine.answer(), 409, "no-user-free")["position"] == 3
    assert refused(one.ask(), 409, "no-user-free")["position"] == 4
    for standing in (*ahead, behind):
        one.farm.cancel(standing.request_id)


def test_a_call_waits_as_long_as_it_said(one: Pool) -> None:
    answer = one.ask(wait_seconds=1)

    assert 1 <= answer.elapsed.total_seconds() < patience.limit(2)


def test_a_call_without_a_request_id_may_repeat_with_the_one_it_was_answered(one: Pool) -> None:
    body = refused(one.ask(wait_seconds=1), 409, "no-user-free")["request_id"]
    one.farm.release(one.user_ids[0])

    assert one.take(request_id=body, wait_seconds=10)["request_id"] == body


def test_a_place_is_kept_for_fifteen_seconds(farm: Farm, one: Pool) -> None:
    waiting = one.stand(wait_seconds=1)
    waiting.answer()

    farm.execute(AGO, seconds=13, request_id=waiting.request_id)
    farm.sweep_line()
    kept = state(farm, waiting.request_id)
    farm.execute(AGO, seconds=2, request_id=waiting.request_id)
    farm.sweep_line()

    assert kept == "detached"
    assert state(farm, waiting.request_id) == "unknown"


def test_who_keeps_asking_keeps_its_place_for_ever(farm: Farm, one: Pool) -> None:
    waiting = one.stand()
    farm.execute(AGO, seconds=3_600, request_id=waiting.request_id)

    farm.sweep_line()

    assert state(farm, waiting.request_id) == "waiting"
    farm.release(one.user_ids[0])
    assert waiting.granted(seconds=3)


def test_a_lost_place_is_taken_again_at_the_end(farm: Farm, one: Pool) -> None:
    lost = one.stand(wait_seconds=1)
    lost.answer()
    farm.execute(AGO, seconds=15, request_id=lost.request_id)
    farm.sweep_line()
    other = one.stand()
    again = one.stand(request_id=lost.request_id)

    farm.release(one.user_ids[0])

    assert other.granted(seconds=3)
    assert again.waits
    farm.release(one.user_ids[0])
    assert again.granted(seconds=3)


def test_asking_without_patience_leaves_the_place_as_it_is(farm: Farm, one: Pool) -> None:
    waiting = one.stand(wait_seconds=1)
    waiting.answer()

    refused(one.ask(request_id=waiting.request_id), 409, "no-user-free")

    assert state(farm, waiting.request_id) == "detached"


def test_a_full_line_takes_no_more_but_nobody_loses_a_place(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = new_pool(served, 1)
    pool.take()
    monkeypatch.setattr(queueing, "LINE_MOST", 2)
    first, second = pool.stand(), pool.stand()

    of_pool = pool.ask(wait_seconds=10)
    single = served.acquire(pool.user_ids[0], wait_seconds=10)
    again = pool.stand(request_id=second.request_id)

    for answer in (of_pool, single):
        refused(answer, 503, "line-full")
        assert answer.headers["Retry-After"] == "1"
    refused(pool.ask(), 409, "no-user-free")
    served.release(pool.user_ids[0])
    assert first.granted(seconds=3)
    third = pool.stand()
    assert second.waits
    for standing in (again, third):
        served.cancel(standing.request_id)


def test_a_place_outlives_the_api_that_was_asked(crashing: tuple[Farm, str], process: ApiProcess) -> None:
    farm, url = crashing
    pool, request_id = new_pool(farm, 1), str(uuid.uuid4())
    pool.take()
    wish = {"project_id": pool.project_id, "request_id": request_id}
    farm.meanwhile(_over_there, url, **wish, wait_seconds=60)
    assert eventually(lambda: state(farm, request_id) == "waiting")
    process.kill()
    farm.execute(DEAD, id=request_id)
    assert eventually(lambda: state(farm, request_id) == "detached")
    younger = pool.stand()

    older = pool.stand(request_id=request_id)
    farm.release(pool.user_ids[0])

    assert older.granted(seconds=3)
    assert younger.waits
    farm.release(pool.user_ids[0])
    assert younger.granted(seconds=3)


def test_what_was_granted_to_a_caller_of_a_dead_api_goes_to_the_next(
    crashing: tuple[Farm, str], process: ApiProcess
) -> None:
    farm, url = crashing
    pool, request_id = new_pool(farm, 1), str(uuid.uuid4())
    pool.take()
    farm.meanwhile(_over_there, url, project_id=pool.project_id, request_id=request_id, wait_seconds=60)
    assert eventually(lambda: state(farm, request_id) == "waiting")
    process.kill()
    farm.release(pool.user_ids[0])
    assert eventually(lambda: state(farm, request_id) == "granted")  # for all anybody knows the API is there
    next_one = pool.stand()

    farm.execute(UNFETCHED, id=request_id)

    assert next_one.granted(seconds=3) == pool.user_ids
    assert farm.endings(pool.user_ids[0]) == ["holder", "unclaimed"]


def _over_there(url: str, **body: Any) -> httpx.Response:
    """A pool call at an API that will be killed before it answers."""
    try:
        return httpx.post(f"{url}{USERS}/acquire_lock", json=body, timeout=patience.limit(30))
    except httpx.TransportError:
        return httpx.Response(599)
