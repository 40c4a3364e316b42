"""Domain calls on an event loop wait for the server without holding up anything else, and never for ever."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from domain.postgres import engines, event_loop
from standalone.servers.postgres import Postgres
from tests import patience
from tests.freezing import frozen


@pytest.fixture
def pooled(database_url: str) -> Iterator[Engine]:
    engine = engines.engine(database_url, pool_size=5)
    yield engine
    engine.dispose()


def slept(engine: Engine, seconds: float) -> int:
    with engine.begin() as conn:
        return int(conn.execute(text("SELECT 42 FROM pg_sleep(:seconds)"), {"seconds": seconds}).scalar_one())


def test_calls_wait_side_by_side_and_the_loop_goes_on(pooled: Engine) -> None:
    async def work() -> tuple[list[int], int]:
        await event_loop.run(slept, pooled, 0)  # the first connection is made alone
        turns = 0
        calls = asyncio.gather(*(event_loop.run(slept, pooled, 1) for _ in range(5)))
        while not calls.done():
            await asyncio.sleep(0.01)
            turns += 1
        return await calls, turns

    began = time.monotonic()
    answers, turns = asyncio.run(work())

    assert answers == [42] * 5
    assert time.monotonic() - began < patience.limit(4)  # one after the other they take five
    assert turns > 10


def test_an_error_is_the_error_it_was(pooled: Engine) -> None:
    def wrong() -> None:
        with pooled.begin() as conn:
            conn.execute(text("SELECT nonsense"))

    with pytest.raises(ProgrammingError, match="nonsense"):
        asyncio.run(event_loop.run(wrong))


def test_a_silent_server_is_given_up_in_time(tmp_path: Any) -> None:
    server = Postgres(tmp_path / "postgres")
    server.start()
    engine = engines.engine(server.url(), patience_seconds=0.4, pre_ping=False)
    try:
        assert asyncio.run(event_loop.run(slept, engine, 0)) == 42
        with frozen(server):
            began = time.monotonic()
            with pytest.raises(OperationalError, match="did not answer in time"):
                asyncio.run(event_loop.run(slept, engine, 0))
            assert 0.3 < time.monotonic() - began < patience.limit(5)
        assert asyncio.run(event_loop.run(slept, engine, 0)) == 42
    finally:
        engine.dispose()
        server.stop()


def test_a_call_that_is_cancelled_leaves_no_broken_connection_behind(pooled: Engine) -> None:
    async def work() -> int:
        await event_loop.run(slept, pooled, 0)
        call = asyncio.create_task(event_loop.run(slept, pooled, 60))
        await asyncio.sleep(0.2)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        return await event_loop.run(slept, pooled, 0)

    assert asyncio.run(asyncio.wait_for(work(), 20)) == 42


def test_a_name_is_resolved_by_a_thread(pooled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    connected = []
    connect = psycopg2.connect

    def noted(*args: Any, **options: Any) -> Any:
        connected.append(threading.current_thread())
        return connect(*args, **options)

    monkeypatch.setattr(psycopg2, "connect", noted)

    assert asyncio.run(event_loop.run(slept, pooled, 0)) == 42
    assert len(connected) == 1
    assert connected[0] is not threading.main_thread()


def test_a_pause_holds_up_nobody_on_a_loop_and_is_a_pause_anywhere() -> None:
    async def work() -> float:
        began = time.monotonic()
        await asyncio.gather(*(event_loop.run(event_loop.pause, 0.2) for _ in range(20)))
        return time.monotonic() - began

    assert 0.2 <= asyncio.run(work()) < 3  # one after the other they take four
    began = time.monotonic()
    event_loop.pause(0.05)
    assert time.monotonic() - began >= 0.05
    assert not event_loop.active()
