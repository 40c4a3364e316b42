"""The worker looks after the waiting line too: it heals where API processes died, and goes on without Redis."""

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from domain import heartbeats, requests
from domain.requests import Ask, Detach, Enqueue, Granted, Place
from tests import patience
from tests.patience import until
from tests.worker.farms import PRINCIPAL, Farm
from worker.duties import Duties
from worker.loops import loops_of

MakeDuties = Callable[..., Duties]
NOWHERE = "redis://127.0.0.1:1/0"
ENDS = text("""
SELECT data ->> 'reason' FROM (
    SELECT user_id, lock_version, type, data FROM events UNION ALL
    SELECT user_id, lock_version, type, data FROM outbox
) told WHERE type = 'botfarm.lock.released.v1' ORDER BY user_id, lock_version
""")
HELD = text("SELECT count(*) FROM users WHERE locktime IS NOT NULL")
HOMES = text("SELECT home FROM lock_requests WHERE granted_at IS NULL")


@pytest.fixture
def duties(make_duties: MakeDuties) -> Duties:
    return make_duties(NOWHERE)


@pytest.fixture
def loops(duties: Duties) -> Iterator[None]:
    loops = loops_of(duties)
    loops.start()
    yield
    loops.stop()


def _join(engine: Engine, home: UUID) -> Ask:
    """A call at that home waits in line; the home is alive just now."""
    ask = Ask(uuid.uuid4(), PRINCIPAL, PRINCIPAL, timedelta(minutes=1))
    with engine.begin() as conn:
        requests.beat(conn, home=home)
        (outcome,) = requests.enqueue(conn, [Enqueue(ask, home)])
    assert isinstance(outcome, Place)
    return ask


def _ends(engine: Engine) -> list[str]:
    with engine.begin() as conn:
        return list(conn.execute(ENDS).scalars())


def _held(engine: Engine) -> int:
    with engine.begin() as conn:
        return int(conn.execute(HELD).scalar_one())


def test_a_line_that_nobody_else_serves_is_served_by_the_worker(farm: Farm, engine: Engine, loops: None) -> None:
    home = uuid.uuid4()
    (user_id,) = farm.grow()
    grant = farm.acquire(user_id)
    ask = _join(engine, home)

    farm.release(grant)
    took = until(lambda: _held(engine) == 1)

    with engine.begin() as conn:
        (handover,) = requests.confirm(conn, home=home)
    assert handover.key == ask.key
    assert took < patience.limit(2)


def test_a_grant_that_a_dead_process_never_fetched_goes_to_the_next(farm: Farm, engine: Engine, loops: None) -> None:
    dead, alive = uuid.uuid4(), uuid.uuid4()
    (user_id,) = farm.grow()
    grant = farm.acquire(user_id)
    _join(engine, dead)
    second = _join(engine, alive)
    farm.release(grant)
    body: list[requests.Handover] = []

    def fetched() -> bool:
        with engine.begin() as conn:
            requests.beat(conn, home=alive)
            body.extend(requests.confirm(conn, home=alive))
        return bool(body)

    took = until(fetched, seconds=6)

    assert [handover.key for handover in body] == [second.key]
    assert _ends(engine) == ["holder", "unclaimed"]
    assert 1.5 < took < patience.limit(5)


def test_a_request_whose_process_died_keeps_its_place_but_is_granted_nothing(
    farm: Farm, engine: Engine, loops: None
) -> None:
    (user_id,) = farm.grow()
    grant = farm.acquire(user_id)
    _join(engine, uuid.uuid4())

    def detached() -> bool:
        with engine.begin() as conn:
            return conn.execute(HOMES).scalars().all() == [None]

    until(detached, seconds=7)
    farm.release(grant)
    time.sleep(1.5)

    assert detached()
    assert _held(engine) == 0


def test_a_call_that_ends_as_the_worker_grants_has_its_grant(farm: Farm, engine: Engine, duties: Duties) -> None:
    home = uuid.uuid4()
    farm.grow()
    ask = _join(engine, home)
    assert duties.sweep_line() is False

    with engine.begin() as conn:
        (outcome,) = requests.detach(conn, [Detach(ask, home)])

    assert isinstance(outcome, Granted)
    assert len(outcome.grants) == 1


def test_nothing_to_do_costs_no_pass(farm: Farm, duties: Duties, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[object] = []
    monkeypatch.setattr(requests, "dispatch", passes.append)
    farm.grow()

    duties.sweep_line()

    assert passes == []


def test_the_loop_over_the_line_beats_although_redis_is_away(engine: Engine, loops: None) -> None:
    def ages() -> dict[str, float]:
        with engine.begin() as conn:
            return heartbeats.ages(conn)

    until(lambda: "line" in ages())
    time.sleep(1.5)

    assert ages()["line"] < 2
    assert "publishing" not in ages()
