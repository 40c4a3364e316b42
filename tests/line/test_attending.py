"""Attending a request: who is taken for gone by mistake comes back, and nobody ends what is another's."""

import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from domain import requests, users
from domain.errors import RequestNotFound
from domain.requests import Ask, Detach, Enqueue, Granted, Place, Undo, dispatching
from domain.sealing import KeyRing
from domain.users import NewUser
from tests import patience
from tests.patience import until

HANG = text("UPDATE homes SET seen_at = seen_at - interval '5 s' WHERE id = :home")
LONG_AGO = text("UPDATE lock_requests SET granted_at = granted_at - interval '3 s'")
HOMES = text("SELECT home FROM lock_requests ORDER BY id")
HELD = text("SELECT count(*) FROM users WHERE locktime IS NOT NULL")
LOCKED = text("SELECT count(*) FROM pg_locks WHERE locktype IN ('advisory', 'transactionid') AND NOT granted")
T = TypeVar("T")


class Desk:
    """One API process as the line sees it: a home whose calls are all made here."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.home = uuid.uuid4()
        self.beat()

    def do(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        with self.engine.begin() as conn:
            return call(conn, *arguments, **named)

    def beat(self) -> None:
        self.do(requests.beat, home=self.home)

    def join(self, ask: Ask) -> Place:
        (outcome,) = self.do(requests.enqueue, [Enqueue(ask, self.home)])
        assert isinstance(outcome, Place)
        return outcome

    def homes(self) -> list[UUID | None]:
        return self.do(lambda conn: list(conn.execute(HOMES).scalars()))

    def held(self) -> int:
        return int(self.do(lambda conn: conn.execute(HELD).scalar_one()))

    def new_users(self, count: int) -> None:
        for _ in range(count):
            self.do(users.create, new=NewUser(f"bot-{uuid.uuid4().hex}"), ring=KeyRing())


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(engine)


def _ask(*, count: int = 1, request_id: UUID | None = None) -> Ask:
    return Ask(request_id or uuid.uuid4(), "p", "p", timedelta(minutes=1), count=count)


def _take(desk: Desk, ask: Ask) -> Granted:
    (outcome,) = desk.do(requests.take, [ask])
    assert isinstance(outcome, Granted)
    return outcome


def test_a_process_that_hung_attends_its_open_calls_again_at_their_old_places(desk: Desk, engine: Engine) -> None:
    other = Desk(engine)
    desk.new_users(1)
    held = _take(desk, _ask())
    first, second = _ask(), _ask()
    desk.join(first)
    other.join(second)
    desk.do(lambda conn: conn.execute(HANG, {"home": desk.home}))
    other.do(requests.sweep)
    assert desk.homes()[1:] == [None, other.home]

    desk.beat()
    back = desk.do(requests.come_back, [first.key], home=desk.home)
    desk.do(requests.undo, [Undo(("p", held.request_id))])
    done = desk.do(requests.dispatch, home=desk.home)

    assert back == [first.key]
    assert [handover.key for handover in done.handovers] == [first.key]


def test_a_request_whose_grant_its_dead_process_never_fetched_keeps_its_place(desk: Desk, engine: Engine) -> None:
    dead, ask = Desk(engine), _ask()
    desk.new_users(1)
    place = dead.join(ask)
    assert len(desk.do(requests.dispatch, home=desk.home).handovers) == 1
    desk.do(lambda conn: conn.execute(LONG_AGO))

    assert desk.do(requests.sweep) == 1
    assert desk.held() == 0
    assert desk.do(requests.dispatch, home=desk.home).handovers == [], "nobody asks for it"

    assert desk.join(ask) == place
    assert len(desk.do(requests.dispatch, home=desk.home).handovers) == 1
    assert desk.held() == 1


def test_coming_back_takes_nothing_from_another_process(desk: Desk, engine: Engine) -> None:
    other = Desk(engine)
    desk.new_users(1)
    ask = _ask()
    other.join(ask)

    assert desk.do(requests.come_back, [ask.key], home=desk.home) == []
    assert desk.homes() == [other.home]


def test_stepping_away_keeps_the_place_and_leaves_alone_what_another_process_attends(
    desk: Desk, engine: Engine
) -> None:
    other = Desk(engine)
    desk.new_users(1)
    mine, theirs = _ask(), _ask()
    desk.join(mine)
    other.join(theirs)

    desk.do(requests.step_away, [mine.key, theirs.key], home=desk.home)

    assert desk.homes() == [None, other.home]


def test_a_call_that_asks_for_something_else_under_the_id_never_ends_the_grant(desk: Desk) -> None:
    desk.new_users(2)
    ask = _ask()
    _take(desk, ask)
    different = _ask(count=2, request_id=ask.request_id)

    (outcome,) = desk.do(requests.detach, [Detach(different, desk.home, gone=True)])

    assert isinstance(outcome, RequestNotFound)
    assert desk.held() == 1


def test_a_call_that_goes_for_good_keeps_no_place(desk: Desk) -> None:
    ask = _ask()
    desk.new_users(1)
    desk.join(ask)

    (outcome,) = desk.do(requests.detach, [Detach(ask, desk.home, gone=True, for_good=True)])

    assert isinstance(outcome, RequestNotFound)
    assert desk.homes() == []


def test_a_call_that_goes_for_good_leaves_the_place_to_one_at_another_home(desk: Desk, engine: Engine) -> None:
    ask = _ask()
    other = Desk(engine)
    desk.new_users(1)
    desk.join(ask)
    other.join(ask)

    desk.do(requests.detach, [Detach(ask, desk.home, gone=True, for_good=True)])

    assert desk.homes() == [other.home]


def test_a_call_that_goes_for_good_leaves_what_was_asked_about_since(desk: Desk) -> None:
    ask = _ask()
    desk.new_users(1)
    desk.join(ask)
    assert len(desk.do(requests.dispatch, home=desk.home).handovers) == 1
    desk.do(requests.enqueue, [Enqueue(ask, desk.home)])

    desk.do(requests.detach, [Detach(ask, desk.home, gone=True, for_good=True)])

    assert desk.held() == 1


def test_a_call_that_goes_for_good_leaves_no_grant_that_nobody_asked_about(desk: Desk) -> None:
    ask = _ask()
    desk.new_users(1)
    desk.join(ask)
    assert len(desk.do(requests.dispatch, home=desk.home).handovers) == 1

    desk.do(requests.detach, [Detach(ask, desk.home, gone=True, for_good=True)])

    assert desk.held() == 0


def test_a_request_that_is_taken_out_just_as_it_is_repeated_joins_again(desk: Desk) -> None:
    desk.new_users(1)
    ask = _ask()
    desk.join(ask)
    joined: list[Place] = []
    asking = threading.Thread(target=lambda: joined.append(desk.join(ask)))

    with desk.engine.begin() as conn:
        requests.undo(conn, [Undo(ask.key)])
        asking.start()
        until(lambda: desk.do(lambda conn: conn.execute(LOCKED).scalar_one()), what="waiting for the row")
    asking.join(patience.limit(5))

    assert [place.request_id for place in joined] == [ask.request_id]
    assert desk.homes() == [desk.home]


def test_a_sweep_passes_over_the_rows_that_calls_are_at_work_on(desk: Desk, engine: Engine) -> None:
    """Waiting for them, and they for it in another order, would be a deadlock."""
    other = Desk(engine)
    desk.new_users(1)
    busy, idle = _ask(), _ask()
    desk.join(busy)
    desk.join(idle)
    desk.do(lambda conn: conn.execute(HANG, {"home": desk.home}))

    with engine.begin() as conn:
        requests.enqueue(conn, [Enqueue(busy, other.home)])
        began = time.monotonic()
        desk.do(requests.sweep)
        took = time.monotonic() - began

    assert took < patience.limit(1)
    assert desk.homes() == [other.home, None]


def test_a_process_that_hangs_in_a_pass_is_made_to_let_go_of_the_line(
    desk: Desk, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"'{dispatching.HUNG_SECONDS}s'" in str(dispatching.MUTEX)
    monkeypatch.setattr(
        dispatching, "MUTEX", text(str(dispatching.MUTEX).replace(f"'{dispatching.HUNG_SECONDS}s'", "'300ms'"))
    )
    desk.new_users(1)
    desk.join(_ask())

    hung = engine.connect()
    requests.dispatch(hung, home=uuid.uuid4())
    began = time.monotonic()
    done = desk.do(requests.dispatch, home=desk.home)
    took = time.monotonic() - began

    with pytest.raises(OperationalError):
        hung.execute(text("SELECT 1"))
    hung.close()
    assert len(done.handovers) == 1
    assert 0.2 < took < patience.limit(2)
    assert desk.held() == 1
