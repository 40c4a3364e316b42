"""Who hears of what, and what becomes of those who do not listen."""

import asyncio
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from api.events.subscriptions import Chunk, Groups, Subscription
from domain.events import feed
from domain.events.cursors import Cursor
from domain.events.feed import Event, Filter

ONE, TWO = UUID(int=1), UUID(int=2)


def chunk(*seqs: int, size: int = 1) -> Chunk:
    return Chunk.of([(seq, b"%d," % seq * size) for seq in seqs])


def subscribed(work: Callable[[Subscription], Any], *, most_bytes: int = 1_000) -> Any:
    """What the work says, done with a subscription on a loop."""

    async def run() -> Any:
        return work(Subscription(most_bytes=most_bytes))

    return asyncio.run(run())


def event(seq: int = 1, **changes: Any) -> Event:
    fields: dict[str, Any] = {"user_id": ONE, "type": "botfarm.lock.acquired.v1", "project_id": None, "env": "stage"}
    fields |= changes
    data = {"project_id": fields["project_id"] and str(fields["project_id"]), "env": fields["env"]}
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Event(
        Cursor(1, seq), uuid.uuid4(), fields["user_id"], 1, fields["type"], json.dumps(data), moment, None, 0.0
    )


@pytest.mark.parametrize(
    ("seq", "rest"), [(0, b"3,4,5,"), (2, b"3,4,5,"), (3, b"4,5,"), (4, b"5,"), (5, b""), (9, b"")]
)
def test_what_a_client_has_had_is_left_out_whether_it_came_before_or_comes_after(seq: int, rest: bytes) -> None:
    def before(subscription: Subscription) -> bytes:
        subscription.put(chunk(3, 4, 5))
        subscription.skip_to(seq)
        return subscription.take()

    def after(subscription: Subscription) -> bytes:
        subscription.skip_to(seq)
        subscription.put(chunk(3, 4, 5))
        return subscription.take()

    assert subscribed(before) == subscribed(after) == rest


def test_what_is_taken_comes_in_order_and_once() -> None:
    def work(subscription: Subscription) -> list[bytes]:
        subscription.put(chunk(1))
        subscription.put(chunk(2, 3))
        return [subscription.take(), subscription.take()]

    assert subscribed(work) == [b"1,2,3,", b""]


def test_who_lets_too_much_pile_up_is_sent_away_with_nothing() -> None:
    def work(subscription: Subscription) -> tuple[list[bool], bytes]:
        overrun = []
        for seq in range(1, 5):
            subscription.put(chunk(seq, size=200))
            overrun.append(subscription.overrun)
        return overrun, subscription.take()

    assert subscribed(work) == ([False, False, True, True], b"")


def test_one_large_portion_sends_nobody_away_who_has_read_everything_else() -> None:
    def work(subscription: Subscription) -> list[bool]:
        found = []
        for seq in range(3):
            subscription.put(chunk(seq + 1, size=2_000))
            found.append(bool(subscription.take()) and not subscription.overrun)
        return found

    assert subscribed(work) == [True, True, True]


def test_only_those_concerned_are_found_and_each_of_them_once() -> None:
    filters = [
        Filter(),
        Filter(user_id=ONE),
        Filter(user_id=TWO),
        Filter(project_id=ONE),
        Filter(project_id=TWO),
        Filter(project_id=ONE, env="prod"),
        Filter(user_id=ONE, project_id=TWO),
        Filter(env="stage"),
        Filter(types=("botfarm.user.created.v1",)),
    ]
    happened = [
        event(),
        event(user_id=TWO, project_id=ONE),
        event(project_id=TWO, env="prod"),
        event(user_id=None, type="botfarm.webhook.disabled.v1"),
        event(user_id=ONE, project_id=ONE, env="prod", type="botfarm.user.created.v1"),
    ]

    async def found() -> list[list[Filter]]:
        groups = Groups()
        for by in filters:
            groups.add(Subscription(most_bytes=1), by)
        return [[group.by for group in groups.concerned(each)] for each in happened]

    for each, heard in zip(happened, asyncio.run(found()), strict=True):
        assert len(heard) == len(set(heard))
        assert set(heard) == {by for by in filters if feed.matches(each, by)}


def test_a_thousand_projects_cost_no_more_questions_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Filter] = []
    matches = feed.matches

    def noted(each: Event, by: Filter) -> bool:
        asked.append(by)
        return matches(each, by)

    monkeypatch.setattr(feed, "matches", noted)

    async def ask() -> int:
        groups = Groups()
        for number in range(1_000):
            groups.add(Subscription(most_bytes=1), Filter(project_id=UUID(int=number + 1)))
        return len([*groups.concerned(event(project_id=TWO))])

    assert asyncio.run(ask()) == 1
    assert asked == [Filter(project_id=TWO)]


def test_who_has_left_is_found_no_more_and_leaves_nothing_behind() -> None:
    async def work() -> tuple[list[int], Groups]:
        groups = Groups()
        members = [Subscription(most_bytes=1) for _ in range(2)]
        counts = []
        for member in members:
            groups.add(member, Filter(user_id=ONE))
        for member in members:
            groups.discard(member, Filter(user_id=ONE))
            counts.append(sum(len(group.members) for group in groups.concerned(event())))
        return counts, groups

    counts, groups = asyncio.run(work())
    assert counts == [1, 0]
    assert (groups._groups, groups._topics) == ({}, {})
