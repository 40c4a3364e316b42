"""Whatever fails in the middle of a batch, nobody suffers for another, and no lease is left with nobody."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from api.execution import group_commit
from api.execution.group_commit import Outcome, Request
from domain.errors import DatabaseUnavailable, LockHeld, Overloaded
from domain.locks import Acquire, Grant, Release, Released
from tests.api.execution.lanes import acquire, outcomes, running


@pytest.mark.parametrize(
    "bad",
    [
        {"metadata": {"a": "\0"}},
        {"metadata": {"a": "\ud800"}},
        {"owner": "nul\0"},
        {"owner": "half \ud800"},
        {"ttl": timedelta.max},
        {"metadata": {"a": {"a set"}}},
    ],
    ids=ascii,
)
def test_a_bad_request_never_fails_its_neighbours(database_url: str, bad: dict[str, Any]) -> None:
    with running(database_url) as lanes:
        first, spoilt, *others = lanes.new_users(6)

        async def work() -> list[Any]:
            with lanes.held(first):
                calls = [asyncio.create_task(lanes.commits.submit(acquire(first), undo=False))]
                await lanes.stuck()
                wishes = [acquire(others[0]), acquire(spoilt, **bad), *map(acquire, others[1:])]
                calls += [asyncio.create_task(lanes.commits.submit(wish, undo=False)) for wish in wishes]
                await asyncio.sleep(0)
            return await outcomes(*calls)

        body = lanes.finish(work())

        assert [isinstance(outcome, Grant) for outcome in body] == [True, True, False, True, True, True]
        assert isinstance(body[2], Exception)
        assert lanes.events(spoilt) == []
        assert [lanes.events(user_id) for user_id in others] == [["acquired"]] * 4


def test_a_lane_that_loses_its_connection_repeats_its_batch(database_url: str) -> None:
    with running(database_url) as lanes:
        first, *others = ids = lanes.new_users(6)

        async def work() -> list[Any]:
            with lanes.held(first):
                calls = [asyncio.create_task(lanes.commits.submit(acquire(each), undo=True)) for each in ids]
                await lanes.stuck()
                lanes.kill(lanes.busy())
            return await outcomes(*calls)

        body = lanes.finish(work())

        assert {type(outcome) for outcome in body} == {Grant}
        assert [lanes.events(user_id) for user_id in [first, *others]] == [["acquired"]] * 6


def dying_after(verb: Callable[..., Sequence[Outcome]]) -> Callable[..., Sequence[Outcome]]:
    """The verb, whose connection breaks the first time between the commit and the answer."""
    left = [1]

    def die(conn: Connection, requests: Sequence[Request]) -> Sequence[Outcome]:
        done = verb(conn, requests)
        if left:
            left.pop()
            conn.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return done

    return die


@pytest.mark.parametrize("verb", [Acquire, Release])
def test_what_was_committed_before_the_connection_broke_is_recognised(
    database_url: str, monkeypatch: pytest.MonkeyPatch, verb: type[Request]
) -> None:
    monkeypatch.setitem(group_commit.LOCK_VERBS, verb, dying_after(group_commit.LOCK_VERBS[verb]))
    with running(database_url) as lanes:
        (user_id,) = lanes.new_users(1)
        wish = acquire(user_id)

        async def work() -> list[Any]:
            granted = await lanes.commits.submit(wish, undo=True)
            return [granted, *await outcomes(lanes.commits.submit(Release(user_id, "anonymous", wish.lease_id)))]

        granted, released = lanes.finish(work())

        assert granted.lease_id == wish.lease_id
        assert isinstance(released, Released)
        assert lanes.events(user_id) == ["acquired", "released holder"]


def test_a_full_queue_refuses_at_once_and_serves_whom_it_has(database_url: str) -> None:
    with running(database_url, capacity=3) as lanes:
        first, *others = lanes.new_users(5)

        async def work() -> list[Any]:
            with lanes.held(first):
                calls = [asyncio.create_task(lanes.commits.submit(acquire(first), undo=False))]
                await lanes.stuck()
                calls += [asyncio.create_task(lanes.commits.submit(acquire(each), undo=False)) for each in others]
                await asyncio.wait(calls, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                assert [call.done() for call in calls] == [False, False, False, False, True]
            return await outcomes(*calls)

        body = lanes.finish(work())

        assert [type(outcome) for outcome in body] == [Grant, Grant, Grant, Grant, Overloaded]
        assert lanes.events(others[-1]) == []


def test_without_a_database_every_caller_is_answered_in_time() -> None:
    with running("postgresql+psycopg2://nobody@127.0.0.1:1/none", lanes=2) as lanes:
        wishes = [acquire(uuid.uuid4()) for _ in range(50)]

        body = lanes.finish(outcomes(*(lanes.commits.submit(wish, undo=False) for wish in wishes)))

    assert {type(outcome) for outcome in body} == {DatabaseUnavailable}


def test_lanes_work_on_after_their_connections_were_killed_while_idle(database_url: str) -> None:
    with running(database_url, lanes=2) as lanes:
        ids = lanes.new_users(8)

        async def work() -> list[Any]:
            body = await outcomes(*(lanes.commits.submit(acquire(each), undo=True) for each in ids[:4]))
            with lanes.engine.begin() as conn:
                idle = conn.execute(text("SELECT pid FROM pg_stat_activity WHERE application_name = 'lane'")).scalars()
                lanes.kill(list(idle))
            return body + await outcomes(*(lanes.commits.submit(acquire(each), undo=True) for each in ids[4:]))

        body = lanes.finish(work())

        assert {type(outcome) for outcome in body} == {Grant}
        assert [lanes.events(each) for each in ids] == [["acquired"]] * 8


def test_refusals_of_a_batch_stay_refusals_when_it_is_repeated(database_url: str) -> None:
    with running(database_url) as lanes:
        (user_id,) = lanes.new_users(1)

        async def work() -> list[Any]:
            with lanes.held(user_id):
                calls = [asyncio.create_task(lanes.commits.submit(acquire(user_id), undo=True)) for _ in range(3)]
                await lanes.stuck()
                lanes.kill(lanes.busy())
            return await outcomes(*calls)

        body = lanes.finish(work())

        assert [type(outcome) for outcome in body] == [Grant, LockHeld, LockHeld]
