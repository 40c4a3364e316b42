"""Loops survive every failure, and write a heartbeat only while they work."""

import time
from collections.abc import Callable, Iterator

import pytest
import redis
from sqlalchemy import Engine

from domain import heartbeats
from standalone.servers.valkey import Valkey
from tests import patience
from tests.patience import until
from tests.worker.farms import Farm, Outsider
from worker import metrics
from worker.duties import Duties
from worker.loops import Loop, Loops, _after, loops_of

MakeDuties = Callable[..., Duties]
OpenDuties = Callable[[str], Duties]


@pytest.fixture
def duties_on(make_duties: MakeDuties) -> Iterator[OpenDuties]:
    """Duties, and their loops, on a Redis that the test chooses."""
    running: list[Loops] = []

    def start(redis_url: str) -> Duties:
        duties = make_duties(redis_url)
        loops = loops_of(duties)
        loops.start()
        running.append(loops)
        return duties

    yield start
    for loops in running:
        loops.stop()


def _ages(engine: Engine) -> dict[str, float]:
    with engine.begin() as conn:
        return heartbeats.ages(conn)


def test_a_change_is_on_the_stream_within_a_second(farm: Farm, duties_on: OpenDuties, redis_url: str) -> None:
    duties = duties_on(redis_url)
    farm.change(1)
    until(lambda: duties.stream.client.xlen(duties.stream.key) == 1)

    farm.change(1)
    took = until(lambda: duties.stream.client.xlen(duties.stream.key) == 2)

    assert took < patience.limit(1)


def test_a_lapsed_lock_has_its_expired_event_within_a_second(farm: Farm, duties_on: OpenDuties, redis_url: str) -> None:
    duties = duties_on(redis_url)
    (user_id,) = farm.grow()
    until(lambda: duties.stream.client.xlen(duties.stream.key) == 1)
    farm.acquire(user_id, seconds=0.5)
    time.sleep(0.5)

    took = until(lambda: farm.numbered()[-1][1].find("lock.expired") > 0)

    assert took < patience.limit(1)


def test_two_sweepers_end_each_lapsed_lock_once(farm: Farm, duties_on: OpenDuties, redis_url: str) -> None:
    duties = duties_on(redis_url)
    duties_on(redis_url)
    for user_id in farm.grow(60):
        farm.acquire(user_id, seconds=0.2)

    until(lambda: len(farm.numbered()) >= 180)
    time.sleep(0.6)

    entries = farm.numbered()
    assert len(entries) == 180
    assert sum("botfarm.lock.expired.v1" in body for _, body in entries) == 60
    assert duties.stream.client.xlen(duties.stream.key) == 180


def test_a_deleted_stream_is_filled_again_by_an_idle_worker(farm: Farm, duties_on: OpenDuties, redis_url: str) -> None:
    duties = duties_on(redis_url)
    farm.change(20)
    until(lambda: duties.stream.client.xlen(duties.stream.key) == 20)

    duties.stream.client.delete(duties.stream.key)

    until(lambda: duties.stream.client.xlen(duties.stream.key) == 20, seconds=3)


def test_without_redis_changes_are_numbered_and_published_afterwards(
    farm: Farm, duties_on: OpenDuties, own_valkey: Valkey, engine: Engine
) -> None:
    duties = duties_on(own_valkey.url())
    farm.change(5)
    until(lambda: farm.state.published_seq == 5)
    own_valkey.kill()
    farm.change(5)
    until(lambda: farm.state.last_seq == 10)
    time.sleep(2.5)
    ages = _ages(engine)

    own_valkey.start()
    until(lambda: farm.state.published_seq == 10)

    assert ages["sequencing"] < 2
    assert ages["expiry"] < 2
    assert ages["publishing"] > 2
    until(lambda: _ages(engine)["publishing"] < 1.5)
    outsider = Outsider(redis.Redis.from_url(own_valkey.url(), decode_responses=True), duties.stream.key)
    assert outsider.cursors() == [f"1-{n}" for n in range(1, 11)]
    outsider.client.close()


def test_a_redis_that_hangs_does_not_delay_the_numbering(farm: Farm, duties_on: OpenDuties, own_valkey: Valkey) -> None:
    duties_on(own_valkey.url())
    farm.change(1)
    until(lambda: farm.state.published_seq == 1)
    client = redis.Redis.from_url(own_valkey.url())
    client.execute_command("CLIENT", "PAUSE", "4000", "ALL")  # type: ignore[no-untyped-call]
    client.close()
    time.sleep(0.2)

    farm.change(5)
    took = until(lambda: farm.state.last_seq == 6)

    assert took < patience.limit(1)
    until(lambda: farm.state.published_seq == 6)


def test_publishing_resumes_when_redis_has_memory_again(farm: Farm, duties_on: OpenDuties, own_valkey: Valkey) -> None:
    duties = duties_on(own_valkey.url())
    farm.change(1)
    until(lambda: farm.state.published_seq == 1)
    client = redis.Redis.from_url(own_valkey.url())
    client.config_set("maxmemory", "1")
    farm.change(5)
    until(lambda: farm.state.last_seq == 6)
    time.sleep(0.5)
    assert farm.state.published_seq == 1

    client.config_set("maxmemory", "0")

    until(lambda: farm.state.published_seq == 6)
    assert client.xlen(duties.stream.key) == 6
    client.close()


def test_a_failing_loop_continues_and_writes_no_heartbeat() -> None:
    beats: list[str] = []
    turns: list[int] = []
    before = metrics.LOOP_FAILURES.labels("trial")._value.get()

    def work() -> float:
        turns.append(len(beats))
        if len(turns) <= 3:
            raise RuntimeError("as arranged")
        return 0.01

    loop = Loop("trial", work=work, beat=beats.append)
    loop.start()
    until(lambda: beats)
    loop.stop()
    loop.join(seconds=1)

    assert turns[:4] == [0, 0, 0, 0]
    assert metrics.LOOP_FAILURES.labels("trial")._value.get() == before + 3
    assert not loop.alive


def test_the_pauses_after_failures_double_up_to_two_seconds() -> None:
    loop = Loop("trial", work=lambda: 1, beat=lambda _: None)

    pauses = [loop._failed(RuntimeError("as arranged")) for _ in range(7)]

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_an_idle_loop_writes_a_heartbeat_every_second() -> None:
    beats: list[float] = []
    loop = Loop("trial", work=lambda: 60, beat=lambda _: beats.append(time.monotonic()))
    loop.start()

    until(lambda: len(beats) == 3, seconds=4)

    loop.stop()
    loop.join(seconds=1)
    assert beats[1] - beats[0] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(("moved", "pause"), [(0, 0.05), (1, 0.02), (59, 0.02), (60, 0.05), (499, 0.05), (500, 0)])
def test_many_events_are_gathered_longer_and_a_full_batch_is_followed_at_once(moved: int, pause: float) -> None:
    assert _after(moved) == pause


def test_a_kicked_loop_works_at_once() -> None:
    turns: list[float] = []

    def work() -> float:
        turns.append(time.monotonic())
        return 60

    loop = Loop("trial", work=work, beat=lambda _: None)
    loop.start()
    until(lambda: turns)

    loop.kick()

    assert until(lambda: len(turns) == 2, seconds=2) < patience.limit(0.5)
    loop.stop()
    loop.join(seconds=1)


def test_a_kick_during_the_work_is_not_lost() -> None:
    turns: list[float] = []

    def work() -> float:
        if not turns:
            loop.kick()
        turns.append(time.monotonic())
        return 60

    loop = Loop("trial", work=work, beat=lambda _: None)
    loop.start()

    assert until(lambda: len(turns) == 2, seconds=2) < patience.limit(0.5)
    loop.stop()
    loop.join(seconds=1)
