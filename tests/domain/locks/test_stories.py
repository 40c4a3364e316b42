"""The negative controls of the checker: each way a story can be broken is found."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.domain.farms import Noted
from tests.domain.locks import stories

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
L1, L2 = UUID(int=1), UUID(int=2)


def at(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def event(kind: str, version: int, when: int, lease_id: UUID, token: int, *, began: int, ends: int) -> Noted:
    data = {"token": token, "locktime": at(began).isoformat(), "expires_at": at(ends).isoformat()}
    return Noted(f"botfarm.lock.{kind}.v1", version, data, at(when), lease_id, "alice")


def lawful() -> list[Noted]:
    """Held from 0, renewed at 5 to end at 15, swept at 16, held again from 20, released at 25, held from 25."""
    return [
        Noted("botfarm.user.created.v1", 1, {}, at(-1), None, None),
        event("acquired", 2, 0, L1, 2, began=0, ends=10),
        event("renewed", 3, 5, L1, 2, began=0, ends=15),
        event("expired", 4, 16, L1, 2, began=0, ends=15),
        event("acquired", 5, 20, L2, 5, began=20, ends=30),
        event("released", 6, 25, L2, 5, began=20, ends=30),
        event("acquired", 7, 25, L1, 7, began=25, ends=30),
    ]


def change(index: int, **fields: object) -> Callable[[list[Noted]], None]:
    def apply(story: list[Noted]) -> None:
        data = {**story[index].data, **{name: fields.pop(name) for name in ("token", "locktime") & fields.keys()}}
        story[index] = replace(story[index], data=data, **fields)  # type: ignore[arg-type]  # any field

    return apply


def test_a_lawful_story_passes() -> None:
    story = lawful()

    stories.check(story)

    assert len(story) == 7


@pytest.mark.parametrize(
    ("law", "damage"),
    [
        ("a version is missing", lambda story: story.pop(2)),
        ("a version is missing", lambda story: story.insert(2, story[2])),
        ("granted while held", change(3, type="botfarm.lock.acquired.v1")),
        ("leases overlap", change(4, locktime=at(14).isoformat())),
        ("leases overlap", change(6, locktime=at(24).isoformat())),
        ("the token does not grow", change(4, token=2)),
        ("renewed after its end", change(2, occurred_at=at(10))),
        ("released after its end", change(5, occurred_at=at(30))),
        ("expired before its end", change(3, occurred_at=at(14))),
        ("another lease was held", change(2, lease_id=L2)),
        ("another token was held", change(5, token=2)),
        ("nothing was held", change(4, type="botfarm.lock.renewed.v1")),
    ],
)
def test_a_broken_story_is_found(law: str, damage: Callable[[list[Noted]], object]) -> None:
    story = lawful()
    damage(story)

    with pytest.raises(stories.Broken, match=law):
        stories.check(story)
