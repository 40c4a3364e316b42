"""The judge finds what it is there to find: each wrong by itself."""

import pytest

from tests.line.judgements import ENDED, GRANTED, Change, Findings, Request, judge

RELEASED, EXPIRED = ENDED


def _change(version: int, kind: str, lease: str, *, reason: str | None = None, at: float = 0) -> Change:
    return Change("u", version, kind, lease, reason, at)


def _request(name: str, *, joined: float, granted: float | None, priority: int = 0, selector: str = "s") -> Request:
    return Request(name, selector, priority, joined, granted)


STORY = [
    Change("u", 1, "botfarm.user.created.v1", None, None, 0),
    _change(2, GRANTED, "a", at=1),
    _change(3, RELEASED, "a", reason="holder", at=2),
    _change(4, GRANTED, "b", at=3),
    _change(5, EXPIRED, "b", at=4),
    _change(6, GRANTED, "c", at=5),
    _change(7, RELEASED, "c", reason="unclaimed", at=6),
]
LINE = [
    _request("1st", joined=0, granted=5),
    _request("2nd", joined=1, granted=6),
    _request("hasty", joined=2, granted=3, priority=5),
    _request("other", joined=2, granted=2.5, selector="t"),
    _request("away", joined=0.5, granted=None),
    _request("waiting", joined=3, granted=None),
]
ATTENDED = {"1st", "2nd", "hasty", "other", "waiting"}


def _judge(changes: list[Change] = STORY, requests: list[Request] = LINE) -> Findings:
    return judge(changes, requests, attended=ATTENDED, gone={"c": 1.5})


def test_a_lawful_run_is_clean() -> None:
    assert _judge().clean, str(_judge())


def test_the_order_of_the_records_does_not_matter() -> None:
    assert _judge(STORY[::-1], LINE[::-1]).clean


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        pytest.param([*STORY[:3], _change(4, GRANTED, "b"), _change(5, GRANTED, "c")], "double", id="two holders"),
        pytest.param([*STORY[:2], _change(3, GRANTED, "a")], "double", id="the same lease twice"),
        pytest.param([*STORY[:2], _change(3, RELEASED, "z")], "ended_twice", id="an end of another lease"),
        pytest.param([*STORY[:3], _change(4, RELEASED, "a")], "ended_twice", id="a second end"),
        pytest.param([*STORY[:2], *STORY[3:]], "gaps", id="a lost event"),
        pytest.param([*STORY, STORY[-1]], "gaps", id="an event twice"),
        pytest.param(STORY[:-1], "kept_by_the_gone", id="a vanished caller holds a user"),
        pytest.param([*STORY[:-1], _change(7, EXPIRED, "c")], "kept_by_the_gone", id="it was only left to expire"),
    ],
)
def test_a_story_that_breaks_a_law_is_found_out(changes: list[Change], wrong: str) -> None:
    assert getattr(_judge(changes), wrong)


@pytest.mark.parametrize(
    ("late", "of_whom"),
    [
        pytest.param(_request("late", joined=1.5, granted=4.9), "1st", id="granted before an earlier one"),
        pytest.param(_request("late", joined=3.4, granted=9), "waiting", id="an earlier one still waits"),
        pytest.param(_request("late", joined=2.4, granted=2.9), "hasty", id="before one of higher priority"),
        pytest.param(_request("late", joined=2.4, granted=2.4, selector="t"), "other", id="in another selector"),
    ],
)
def test_a_request_that_was_overtaken_is_found_out(late: Request, of_whom: str) -> None:
    assert of_whom in _judge(requests=[*LINE, late]).overtaken


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(_request("close", joined=0.2, granted=4.9), id="joined at about the same time"),
        pytest.param(_request("urgent", joined=4, granted=4.5, priority=9), id="of higher priority"),
        pytest.param(_request("elsewhere", joined=4, granted=4.5, selector="v"), id="asks for something else"),
        pytest.param(_request("behind", joined=0.9, granted=5.5), id="only one that was away is behind it"),
    ],
)
def test_who_may_go_first_does_not_overtake(other: Request) -> None:
    assert _judge(requests=[*LINE, other]).clean


def test_an_answer_that_crosses_its_vanishing_caller_is_left_to_expire() -> None:
    crossed = judge(STORY[:5], [], attended=(), gone={"b": 2.9})

    assert crossed.clean
