"""A call that waits: what becomes of a grant that comes just as the call ends, and of one that is another's."""

import asyncio
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from api.auth.principals import ANONYMOUS, SCOPE_KEY
from api.execution.dispatcher import Dispatcher
from api.locking import acquiring
from api.services import Background
from domain.errors import DatabaseUnavailable, NoUserFree, Overloaded, Refusal, RequestIdReused, Unauthenticated
from domain.requests import Ask, Detach, Enqueue, Granted, Handover, Place
from domain.requests.records import Key
from tests import patience
from tests.api.logs import logging_to


@dataclass
class Line:
    """Stands for the lanes: answers what `joining` and `leaving` say, the latter after a pass that grants."""

    dispatcher: Dispatcher
    joining: Refusal | None = None
    leaving: Refusal | Granted | None = None
    grants_late: bool = False
    said: list[Any] = field(default_factory=list)

    async def submit(self, request: Any) -> Any:
        self.said.append(request)
        if isinstance(request, Enqueue):
            outcome: Any = self.joining or Place(1, request.ask.request_id)
        else:
            if self.grants_late:
                granted = Granted(request.ask.request_id, [])
                await asyncio.to_thread(
                    self.dispatcher._answer, [Handover(request.ask.key, self.dispatcher.home, granted)]
                )
            await asyncio.sleep(0)
            outcome = self.leaving or NoUserFree(request.ask.request_id, 1, 1.0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@dataclass
class Call:
    """A call at a process whose lanes are those of a stand-in."""

    line: Line
    unclaimed: list[Key]
    ask: Ask = field(default_factory=lambda: Ask(uuid.uuid4(), "p", "p", timedelta(minutes=1)))
    hang_up: bool = False
    revoked: bool = False

    async def make(self, *, wait_seconds: float = 0.05) -> Granted:
        hints = SimpleNamespace(tell_everybody=lambda: None)
        services: Any = SimpleNamespace(
            dispatcher=self.line.dispatcher,
            requests=self.line,
            hints=hints,
            background=Background(),
            identities=SimpleNamespace(watch=self._watch),
        )
        request: Any = SimpleNamespace(receive=self._receive, scope={SCOPE_KEY: ANONYMOUS})
        wait: Any = wait_seconds
        return await acquiring.serve(services, self.ask, wait_seconds=wait, chosen=True, request=request)

    def _watch(self, _caller: Any, end: Callable[[], object]) -> Callable[[], None]:
        if self.revoked:
            asyncio.get_running_loop().call_soon(end)
        return lambda: None

    async def _receive(self) -> dict[str, str]:
        if not self.hang_up:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}


@pytest.fixture(autouse=True, scope="module")
def plain_logs() -> Iterator[None]:
    """Log in JSON: structlog unconfigured draws tracebacks in colour, which takes seconds."""
    with logging_to(sys.stderr):
        yield


@pytest.fixture
def call(engine: Engine) -> Call:
    unclaimed: list[Key] = []
    return Call(Line(Dispatcher(engine, unclaimed=lambda key, _granted: unclaimed.append(key))), unclaimed)


def _attended(call: Call) -> bool:
    return call.ask.key in call.line.dispatcher._calls


def test_a_grant_that_comes_as_the_time_is_over_is_had_and_not_given_back(call: Call) -> None:
    call.line.grants_late = True
    call.line.leaving = Granted(call.ask.request_id, [], again=True)

    granted = asyncio.run(call.make())

    assert granted is call.line.leaving
    assert call.unclaimed == []
    assert not _attended(call)


@pytest.mark.parametrize("failure", [DatabaseUnavailable(), Overloaded()], ids=["unavailable", "overloaded"])
def test_a_grant_is_given_back_when_the_leaving_call_cannot_say_so(call: Call, failure: Refusal) -> None:
    call.line.grants_late = True
    call.line.leaving = failure

    with pytest.raises(type(failure)):
        asyncio.run(call.make())

    assert call.unclaimed == [call.ask.key]
    assert not _attended(call)


def test_a_grant_that_comes_after_the_call_has_left_is_given_back(call: Call) -> None:
    with pytest.raises(NoUserFree):
        asyncio.run(call.make())

    call.line.dispatcher._answer([Handover(call.ask.key, call.line.dispatcher.home, Granted(uuid.uuid4(), []))])

    assert call.unclaimed == [call.ask.key]


def test_a_call_whose_caller_hung_up_tells_the_line_that_nobody_is_there(call: Call) -> None:
    call.hang_up = True

    with pytest.raises(NoUserFree):
        asyncio.run(call.make(wait_seconds=5))

    assert [(request.gone, request.for_good) for request in call.line.said if isinstance(request, Detach)] == [
        (True, False)
    ]


@pytest.mark.parametrize("late", [None, Granted(uuid.uuid4(), [], again=True), DatabaseUnavailable(), Overloaded()])
def test_a_call_whose_key_ended_is_unauthenticated_whatever_becomes_of_its_request(
    call: Call, late: Refusal | Granted | None
) -> None:
    call.revoked = True
    call.line.leaving = late

    with pytest.raises(Unauthenticated):
        asyncio.run(call.make(wait_seconds=5))

    assert [request.for_good for request in call.line.said if isinstance(request, Detach)] == [True]
    assert not _attended(call)


def test_a_call_that_goes_while_another_waits_for_the_same_leaves_the_line_alone(call: Call) -> None:
    async def both() -> Sequence[Granted | BaseException]:
        return await asyncio.gather(call.make(wait_seconds=0.05), call.make(wait_seconds=0.3), return_exceptions=True)

    outcomes = asyncio.run(both())

    assert [type(outcome) for outcome in outcomes] == [NoUserFree, NoUserFree]
    assert [type(request) for request in call.line.said] == [Enqueue, Enqueue, Detach]
    assert not _attended(call)


@pytest.mark.parametrize("refusal", [RequestIdReused(uuid.uuid4()), Overloaded()], ids=["reused", "overloaded"])
def test_a_call_that_was_refused_does_not_leave_a_line_it_never_joined(call: Call, refusal: Refusal) -> None:
    call.line.joining = refusal

    with pytest.raises(type(refusal)):
        asyncio.run(call.make())

    assert not any(isinstance(request, Detach) for request in call.line.said)
    assert not _attended(call)


def test_a_call_that_does_not_know_whether_it_joined_leaves_the_line(call: Call) -> None:
    call.line.joining = DatabaseUnavailable()

    async def make() -> None:
        with pytest.raises(DatabaseUnavailable):
            await call.make()
        await asyncio.sleep(0.05)

    asyncio.run(make())

    assert [request.gone for request in call.line.said if isinstance(request, Detach)] == [True]
    assert not _attended(call)


def test_a_cancelled_call_leaves_the_line(call: Call) -> None:
    async def cancel() -> None:
        task = asyncio.ensure_future(call.make(wait_seconds=5))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)

    asyncio.run(cancel())

    assert [request.gone for request in call.line.said if isinstance(request, Detach)] == [True]
    assert not _attended(call)


def test_no_failure_of_a_pass_ends_the_dispatcher(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = threading.Event()
    failures = [RuntimeError("as arranged")] * 2

    def round_(_dispatcher: Dispatcher) -> float:
        if failures:
            raise failures.pop()
        passed.set()
        return 0.01

    monkeypatch.setattr(Dispatcher, "_round", round_)
    dispatcher = Dispatcher(engine, unclaimed=lambda _key, _granted: None)
    dispatcher.start()

    assert passed.wait(patience.limit(5))
    dispatcher.close()
