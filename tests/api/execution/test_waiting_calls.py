"""A waiting call goes through its states in order, and what it asks of the line follows from why it stopped."""

import asyncio
import itertools
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest

from api.execution.waiting_calls import FOLLOWING, State, Stop, WaitingCall
from domain.requests import Ask, Granted
from tests import patience

HOME = uuid.uuid4()
STEPS: dict[State, Callable[[WaitingCall], None]] = {
    State.WAITING: lambda call: call.joined(),
    State.LEAVING: lambda call: call.stop(Stop.TIME_OVER),
    State.UNSURE: lambda call: call.stop(Stop.HUNG_UP),
    State.ENDED: lambda call: call.end(),
}
PATHS: dict[State, list[State]] = {
    State.JOINING: [],
    State.WAITING: [State.WAITING],
    State.LEAVING: [State.WAITING, State.LEAVING],
    State.UNSURE: [State.UNSURE],
    State.ENDED: [State.ENDED],
}
# One verb stops a call, and where that leads depends on where it is.
ILLEGAL = [
    (state, following)
    for state, following in itertools.product(State, STEPS)
    if following not in FOLLOWING[state]
    and not (following in {State.LEAVING, State.UNSURE} and FOLLOWING[state] & {State.LEAVING, State.UNSURE})
]


def in_state(state: State) -> WaitingCall:
    call = WaitingCall(Ask(uuid.uuid4(), "p", "p", timedelta(minutes=1)))
    for step in PATHS[state]:
        STEPS[step](call)
    assert call.state is state
    return call


@pytest.mark.parametrize(
    ("state", "following"), [(state, each) for state in State for each in State if each in FOLLOWING[state]], ids=str
)
def test_every_transition_of_the_drawing_can_be_made(state: State, following: State) -> None:
    async def make() -> State:
        call = in_state(state)
        STEPS[following](call)
        return call.state

    assert asyncio.run(make()) is following


@pytest.mark.parametrize(("state", "following"), ILLEGAL, ids=str)
def test_any_other_transition_is_a_defect(state: State, following: State) -> None:
    async def make() -> None:
        call = in_state(state)
        with pytest.raises(RuntimeError, match=f"from {state.name} to"):
            STEPS[following](call)
        assert call.state is state

    asyncio.run(make())


@pytest.mark.parametrize(
    ("why", "shared", "gone", "for_good"),
    [
        (Stop.TIME_OVER, False, False, False),
        (Stop.HUNG_UP, False, True, False),
        (Stop.KEY_ENDED, False, True, True),
        (Stop.TIME_OVER, True, False, False),
        (Stop.HUNG_UP, True, False, False),
        (Stop.KEY_ENDED, True, False, False),
    ],
)
def test_what_the_line_is_to_do_follows_from_why_the_call_stopped(
    why: Stop, *, shared: bool, gone: bool, for_good: bool
) -> None:
    async def make() -> None:
        call = in_state(State.WAITING)
        call.shared = shared
        call.stop(why)
        detach = call.detach(home=HOME)
        assert (detach.ask, detach.home, detach.gone, detach.for_good) == (call.ask, HOME, gone, for_good)

    asyncio.run(make())


def test_the_first_answer_of_the_line_counts() -> None:
    async def make() -> None:
        call = in_state(State.WAITING)
        first, second = Granted(uuid.uuid4(), []), Granted(uuid.uuid4(), [])
        for granted in (first, None, second):
            call.resolve(granted)
        assert await call.wait(patience.limit(10)) is None
        assert call.grant is first

    asyncio.run(make())


def test_a_request_that_left_the_line_elsewhere_ends_the_wait_without_a_grant() -> None:
    async def make() -> None:
        call = in_state(State.WAITING)
        call.resolve(None)
        assert await call.wait(patience.limit(10)) is Stop.TIME_OVER
        assert (call.resolved, call.grant) == (True, None)

    asyncio.run(make())


@pytest.mark.parametrize(("state", "in_line"), [(s, s in {State.WAITING, State.LEAVING}) for s in State], ids=str)
def test_a_call_is_in_line_from_joining_until_its_end(state: State, *, in_line: bool) -> None:
    async def make() -> None:
        assert in_state(state).in_line is in_line

    asyncio.run(make())
