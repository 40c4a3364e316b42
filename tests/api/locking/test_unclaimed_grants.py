"""A grant that nobody waits for any more is given back, unless its caller may ask for it again."""

import asyncio
import uuid
from typing import Any

import pytest

from api.execution import group_commit
from api.execution.group_commit import GroupCommit
from domain.errors import DatabaseUnavailable
from domain.locks import Acquire, Grant
from tests.api.execution.lanes import Lanes, acquire, outcomes, running
from tests.patience import eventually

PATIENCE_SECONDS = 1.0  # long enough for a lane to begin, on a busy machine too


@pytest.fixture(autouse=True)
def quick_undo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "UNDO_PAUSE_SECONDS", 0.05)


async def given_up(lanes: Lanes, wish: Acquire, *, undo: bool) -> list[Any]:
    """What a caller is told whose user's row is locked for longer than its patience."""
    with lanes.held(wish.user_id):
        call = asyncio.create_task(lanes.commits.submit(wish, undo=undo))
        await lanes.stuck()
        return await outcomes(call)


async def undone(lanes: Lanes, user_id: uuid.UUID) -> bool:
    """Whether the late grant is given back in time, while the loop of its caller goes on as a server's does."""
    expected = ["acquired", "released unclaimed"]
    return await asyncio.to_thread(eventually, lambda: lanes.events(user_id) == expected)


def test_a_grant_that_comes_too_late_is_released_as_unclaimed(database_url: str) -> None:
    with running(database_url, patience_seconds=PATIENCE_SECONDS) as lanes:
        (user_id,) = lanes.new_users(1)

        async def work() -> list[Any]:
            body = await given_up(lanes, acquire(user_id), undo=True)
            return [*body, await undone(lanes, user_id)]

        gave_up, in_time = lanes.finish(work())

        assert isinstance(gave_up, DatabaseUnavailable)
        assert in_time
        assert lanes.events(user_id) == ["acquired", "released unclaimed"]
        assert lanes.user(user_id).lock is None


def test_a_late_grant_is_kept_for_a_caller_that_can_ask_again(database_url: str) -> None:
    with running(database_url, patience_seconds=PATIENCE_SECONDS) as lanes:
        (user_id,) = lanes.new_users(1)
        wish = acquire(user_id)

        async def work() -> list[Any]:
            body = await given_up(lanes, wish, undo=False)
            await asyncio.sleep(0.3)  # several rounds of undoing
            return [*body, *await outcomes(lanes.commits.submit(wish, undo=False))]

        gave_up, again = lanes.finish(work())

        assert isinstance(gave_up, DatabaseUnavailable)
        assert isinstance(again, Grant)
        assert again.again
        assert lanes.events(user_id) == ["acquired"]


def test_what_nobody_waits_for_any_more_is_not_even_begun(database_url: str) -> None:
    with running(database_url, patience_seconds=PATIENCE_SECONDS) as lanes:
        first, second = lanes.new_users(2)

        async def work() -> list[Any]:
            with lanes.held(first):
                blocking = asyncio.create_task(lanes.commits.submit(acquire(first), undo=False))
                await lanes.stuck()
                body = await outcomes(blocking, lanes.commits.submit(acquire(second), undo=False))
            assert await asyncio.to_thread(eventually, lambda: lanes.events(first) == ["acquired"])
            assert await asyncio.to_thread(eventually, lambda: lanes.commits.waiting() == 0)
            return body

        body = lanes.finish(work())

        assert {type(outcome) for outcome in body} == {DatabaseUnavailable}
        assert lanes.events(second) == []


def test_a_caller_that_is_cancelled_disturbs_nobody(database_url: str) -> None:
    with running(database_url) as lanes:
        ids = lanes.new_users(5)

        async def work() -> list[Any]:
            with lanes.held(ids[0]):
                calls = [asyncio.create_task(lanes.commits.submit(acquire(each), undo=True)) for each in ids]
                await lanes.stuck()
                calls[2].cancel()
            return [*await outcomes(*calls), await undone(lanes, ids[2])]

        *body, in_time = lanes.finish(work())

        assert [type(outcome) for outcome in body] == [Grant, Grant, asyncio.CancelledError, Grant, Grant]
        assert in_time
        assert [lanes.events(each) for each in ids if each != ids[2]] == [["acquired"]] * 4


def test_an_undo_never_touches_the_next_holder(database_url: str) -> None:
    with running(database_url, patience_seconds=PATIENCE_SECONDS) as lanes:
        (user_id,) = lanes.new_users(1)
        wish = acquire(user_id)

        async def work() -> None:
            await given_up(lanes, wish, undo=True)
            assert await undone(lanes, user_id)
            await lanes.commits.submit(acquire(user_id, owner="the next"), undo=False)
            await asyncio.sleep(0.3)  # several rounds of undoing

        lanes.finish(work())

        lock = lanes.user(user_id).lock
        assert lock is not None
        assert lock.owner == "the next"


def test_closing_undoes_what_nobody_waits_for(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_self: GroupCommit) -> None:
        """What undoes at once is away, as when the service stops in that very moment."""

    monkeypatch.setattr(GroupCommit, "_run_undos", nothing)
    with running(database_url, patience_seconds=PATIENCE_SECONDS) as lanes:
        (user_id,) = lanes.new_users(1)
        lanes.finish(given_up_and_granted(lanes, acquire(user_id)))

        lanes.finish(lanes.commits.close())

        assert lanes.events(user_id) == ["acquired", "released unclaimed"]


async def given_up_and_granted(lanes: Lanes, wish: Acquire) -> None:
    await given_up(lanes, wish, undo=True)
    assert await asyncio.to_thread(eventually, lambda: bool(lanes.commits._undos))
