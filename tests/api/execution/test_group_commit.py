"""Lock changes that arrive together are made together, and each caller gets the outcome of its own."""

import asyncio
import uuid
from collections.abc import Sequence

import pytest

from api.execution.group_commit import Outcome
from domain.errors import LockHeld, Overloaded, UserNotFound
from domain.locks import Grant, Release, Released, Renew, Renewal
from tests.api.execution.lanes import acquire, outcomes, running


def test_requests_that_arrive_while_a_lane_works_are_one_batch(database_url: str) -> None:
    with running(database_url) as lanes:
        first, *others = lanes.new_users(31)

        async def work() -> list[object]:
            with lanes.held(first):
                calls = [asyncio.create_task(lanes.commits.submit(acquire(first), undo=False))]
                await lanes.stuck()
                calls += [asyncio.create_task(lanes.commits.submit(acquire(each), undo=False)) for each in others]
                await asyncio.sleep(0)
                assert lanes.commits.waiting() == 30
            return list(await asyncio.gather(*calls))

        granted = lanes.finish(work())

    assert [grant.user.id for grant in granted if isinstance(grant, Grant)] == [first, *others]
    assert [len(batch) for batch in lanes.batches] == [1, 30]


def test_no_batch_is_larger_than_it_may_be(database_url: str) -> None:
    with running(database_url, batch=8) as lanes:
        first, *others = lanes.new_users(21)

        async def work() -> None:
            with lanes.held(first):
                calls = [asyncio.create_task(lanes.commits.submit(acquire(first), undo=False))]
                await lanes.stuck()
                calls += [asyncio.create_task(lanes.commits.submit(acquire(each), undo=False)) for each in others]
                await asyncio.sleep(0)
            await asyncio.gather(*calls)

        lanes.finish(work())

    assert [len(batch) for batch in lanes.batches] == [1, 8, 8, 4]


def test_a_lonely_request_waits_for_nobody(database_url: str) -> None:
    with running(database_url) as lanes:
        (user_id,) = lanes.new_users(1)

        grant = lanes.finish(asyncio.wait_for(lanes.commits.submit(acquire(user_id), undo=False), 2))

    assert isinstance(grant, Grant)
    assert [len(batch) for batch in lanes.batches] == [1]


def test_of_many_that_want_one_user_the_first_gets_it(database_url: str) -> None:
    with running(database_url) as lanes:
        (user_id,) = lanes.new_users(1)

        first, *others = lanes.finish(
            outcomes(*(lanes.commits.submit(acquire(user_id, owner=f"job-{n}"), undo=False) for n in range(50)))
        )

    assert isinstance(first, Grant)
    assert {type(other) for other in others} == {LockHeld}
    assert {other.owner for other in others} == {"job-0"}


def test_verbs_are_served_in_the_order_of_arrival(database_url: str) -> None:
    with running(database_url) as lanes:
        blocked, user_id = lanes.new_users(2)
        first, second = acquire(user_id), acquire(user_id)

        async def work() -> list[object]:
            with lanes.held(blocked):
                wait = asyncio.create_task(lanes.commits.submit(acquire(blocked), undo=False))
                await lanes.stuck()
                calls = [
                    lanes.commits.submit(first, undo=False),
                    lanes.commits.submit(Renew(user_id, first.lease_id, "anonymous", first.ttl)),
                    lanes.commits.submit(Release(user_id, "anonymous", first.lease_id)),
                ]
                waiting = [asyncio.create_task(call) for call in calls]
                await asyncio.sleep(0)
            return [await wait, *await asyncio.gather(*waiting), await lanes.commits.submit(second, undo=False)]

        body = lanes.finish(work())

    assert [type(outcome) for outcome in body] == [Grant, Grant, Renewal, Released, Grant]
    assert lanes.events(user_id) == ["acquired", "renewed", "released holder", "acquired"]


def test_each_caller_gets_its_own_refusal(database_url: str) -> None:
    nobody = uuid.uuid4()
    with running(database_url) as lanes:
        (user_id,) = lanes.new_users(1)

        body = lanes.finish(
            outcomes(
                lanes.commits.submit(acquire(nobody), undo=True),
                lanes.commits.submit(acquire(user_id), undo=True),
                lanes.commits.submit(acquire(user_id), undo=True),
            )
        )

    assert [type(outcome) for outcome in body] == [UserNotFound, Grant, LockHeld]


def test_lanes_side_by_side_never_grant_a_user_twice(database_url: str) -> None:
    with running(database_url, lanes=4, batch=5) as lanes:
        ids = lanes.new_users(10)
        wishes = [acquire(user_id) for _ in range(40) for user_id in ids]

        body = lanes.finish(outcomes(*(lanes.commits.submit(wish, undo=False) for wish in wishes)))

    assert sorted(outcome.user.id for outcome in body if isinstance(outcome, Grant)) == sorted(ids)
    assert sum(isinstance(outcome, LockHeld) for outcome in body) == 390
    assert [lanes.events(user_id) for user_id in ids] == [["acquired"]] * 10


@pytest.mark.parametrize("lane_count", [1, 2, 5])
def test_an_idle_lane_is_always_woken(database_url: str, lane_count: int) -> None:
    """Callers come and go, so that lanes fall asleep and are called all the time."""
    slowest: list[float] = []
    with running(database_url, lanes=lane_count) as lanes:
        ids = lanes.new_users(4)

        async def cycle(user_id: uuid.UUID) -> None:
            loop = asyncio.get_running_loop()
            for _ in range(60):
                started = loop.time()
                grant = await lanes.commits.submit(acquire(user_id), undo=False)
                await lanes.commits.submit(Release(user_id, "anonymous", grant.lease_id))
                slowest.append(loop.time() - started)

        lanes.finish(outcomes(*map(cycle, ids)))

    assert len(slowest) == 240
    assert max(slowest) < lanes.commits.patience_seconds / 2


def test_a_callback_that_fails_changes_nothing(database_url: str) -> None:
    body = []

    def fail(batch: Sequence[Outcome]) -> None:
        body.append(batch)
        raise RuntimeError("the cache is on fire")

    with running(database_url, after_commit=fail) as lanes:
        ids = lanes.new_users(3)

        async def work() -> list[Grant]:
            return [await lanes.commits.submit(acquire(user_id), undo=False) for user_id in ids]

        granted = lanes.finish(work())

    assert [grant.user.id for grant in granted] == ids
    assert len(body) == 3


def test_closing_serves_those_that_wait_and_refuses_new_ones(database_url: str) -> None:
    with running(database_url) as lanes:
        first, *others, late = lanes.new_users(22)

        async def work() -> tuple[list[object], list[object]]:
            with lanes.held(first):
                calls = [asyncio.create_task(lanes.commits.submit(acquire(first), undo=False))]
                await lanes.stuck()
                calls += [asyncio.create_task(lanes.commits.submit(acquire(each), undo=False)) for each in others]
                await asyncio.sleep(0)
                closing = asyncio.create_task(lanes.commits.close())
                await lanes.commits._closing.wait()
                refused = await outcomes(lanes.commits.submit(acquire(late), undo=False))
            await closing
            return await outcomes(*calls), refused

        served, refused = lanes.finish(work())

    assert {type(outcome) for outcome in served} == {Grant}
    assert len(served) == 21
    assert [type(outcome) for outcome in refused] == [Overloaded]
    assert lanes.user(late).lock is None


def test_closing_waits_for_a_stuck_lane_only_so_long(database_url: str) -> None:
    with running(database_url) as lanes:
        (user_id,) = lanes.new_users(1)

        async def work() -> list[object]:
            with lanes.held(user_id):
                call = asyncio.create_task(lanes.commits.submit(acquire(user_id), undo=False))
                await lanes.stuck()
                await lanes.commits.close(seconds=0.1)
                assert lanes.user(user_id).lock is None
            call.cancel()
            return await outcomes(call)

        body = lanes.finish(work())

    assert [type(outcome) for outcome in body] == [asyncio.CancelledError]


def test_the_loop_goes_on_while_a_lane_waits(database_url: str) -> None:
    with running(database_url) as lanes:
        (user_id,) = lanes.new_users(1)

        async def work() -> int:
            loop = asyncio.get_running_loop()
            with lanes.held(user_id):
                call = asyncio.create_task(lanes.commits.submit(acquire(user_id), undo=False))
                await lanes.stuck()
                started = loop.time()
                turns = 0
                while loop.time() < started + 0.3:
                    await asyncio.sleep(0.01)
                    turns += 1
            await call
            return turns

        turns = lanes.finish(work())

    assert turns > 5
