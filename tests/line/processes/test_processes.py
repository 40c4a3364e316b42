"""The line over several processes, killed, cut off and stopped: all who stay are served, once and in order."""

import asyncio
import contextlib
import os
import signal
import statistics
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests import patience
from tests.line.judgements import Findings, judge
from tests.line.processes.callers import Crowd, Journal
from tests.line.processes.farms import STOP_SECONDS, Farm
from tests.patience import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

CROWD, USERS = 150, 8
GREAT_CROWD, GREAT_USERS = 1_000, 50
GREAT_SECONDS = 30
HEALED_SECONDS = 12.0  # a dead process looks alive for 4 s, what it is granted is idle for 2 s more; sweeps take turns
POOL = "users/acquire_lock"


def _verdict(farm: Farm, journal: Journal, user_ids: Sequence[str]) -> Findings:
    return judge(farm.changes(), farm.requests(), attended=journal.attended, gone=journal.leases_of_the_gone(user_ids))


def _report(name: str, journal: Journal, farm: Farm) -> None:
    cuts = statistics.quantiles(journal.handovers, n=100)
    unclaimed = sum(change.reason == "unclaimed" for change in farm.changes())
    print(  # noqa: T201  -- shown with -s: was anything going on?
        f"\n{name}: {len(journal.handovers)} hand-overs, p50 {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms, "
        f"{len(journal.attended)} judged by order, {unclaimed} unclaimed, {dict(journal.seen)}"
    )


def _check(farm: Farm, journal: Journal, user_ids: Sequence[str]) -> None:
    """The verdict, once what is still to be taken back from the gone was taken back: judged earlier, it is kept."""
    assert eventually(lambda: farm.held() == 0, seconds=20)
    findings = _verdict(farm, journal, user_ids)
    assert findings.clean, str(findings)
    assert not journal.double
    assert not journal.refused, journal.refused[:3]


@pytest.mark.parametrize("redis", ["there", "away"])
def test_all_who_stay_are_served_once_and_in_order(farm: Farm, redis: str, seconds: float) -> None:
    great = seconds >= GREAT_SECONDS
    users = farm.new_users(GREAT_USERS if great else USERS)
    crowd = Crowd(farm.urls, GREAT_CROWD if great else CROWD)
    if redis == "away":
        farm.valkey.kill()

    asyncio.run(crowd.run(seconds=seconds))

    _report(f"Redis {redis}", crowd.journal, farm)
    _check(farm, crowd.journal, users)
    assert all(crowd.journal.seen[what] for what in ("served", "vanished", "asked again"))


def test_the_others_go_on_when_a_process_is_killed_and_what_it_was_granted_comes_back(farm: Farm) -> None:
    users = farm.new_users(12)
    held = _take(farm, count=4)  # given back after the death: the dead cannot hold all users when it comes
    crowd = Crowd(farm.urls, 60, vanishing=0.02, mortal=farm.urls[:1])
    killed_at = 0.0

    async def kill() -> None:
        nonlocal killed_at
        await asyncio.sleep(1.5)
        killed_at = time.time()
        farm.apis[0].kill()
        await asyncio.to_thread(_release, farm, held, at=1)

    async def run() -> None:
        await asyncio.gather(crowd.run(seconds=6), kill())

    asyncio.run(run())

    journal = crowd.journal
    _report("killed", journal, farm)
    _check(farm, journal, users)
    reclaimed = [change.at - killed_at for change in farm.changes() if change.reason == "unclaimed"]
    assert journal.seen["died"] == 30
    assert any(after > 1 for after in reclaimed), "nothing was granted to the dead"
    assert all(after < HEALED_SECONDS for after in reclaimed)
    assert sum(at > killed_at for at in journal.served_at) > 30, "they do not go on"


def test_the_calls_of_a_process_that_hung_are_served_when_it_goes_on(farm: Farm) -> None:
    users = farm.new_users(6)
    crowd = Crowd(farm.urls, 60, vanishing=0, hanging=farm.urls[:1])

    async def hang() -> None:
        await asyncio.sleep(1)
        os.kill(farm.apis[0].running.pid, signal.SIGSTOP)
        await asyncio.sleep(6)
        os.kill(farm.apis[0].running.pid, signal.SIGCONT)

    async def run() -> None:
        await asyncio.gather(crowd.run(seconds=6), hang())

    asyncio.run(run())

    _report("hung", crowd.journal, farm)
    _check(farm, crowd.journal, users)


@contextlib.contextmanager
def _kept_in_line(farm: Farm) -> Iterator[None]:
    """Requests whose calls are gone keep their places however slowly this machine restarts: 15 s are the law else."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.5):
            with farm.engine.begin() as conn:
                conn.execute(text("UPDATE lock_requests SET seen_at = clock_timestamp() WHERE granted_at IS NULL"))

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_who_asks_again_after_all_processes_were_restarted_keeps_the_place(farm: Farm) -> None:
    farm.new_users(1)
    held = _take(farm)
    with ThreadPoolExecutor(12) as threads:
        wishes = _line_up(farm, threads, count=6)
        places = farm.places()

        with _kept_in_line(farm):
            for api in farm.apis:
                api.kill()
            farm.start()
            calls = [_wait(farm, threads, wish, at=number % 2) for number, wish in enumerate(wishes[::-1])][::-1]
            assert eventually(lambda: farm.attended() == len(wishes))
        assert farm.places() == places

        served = []
        for wish, call in zip(wishes, calls, strict=True):
            _release(farm, held)
            held = call.result(timeout=patience.limit(20)).json()
            assert held["request_id"] == wish["request_id"]
            served.append([other.done() for other in calls].count(True))

    assert served == [1, 2, 3, 4, 5, 6]


def test_the_waiting_calls_of_a_stopping_process_are_answered_with_their_kept_places(farm: Farm) -> None:
    farm.new_users(1)
    held = _take(farm)
    with ThreadPoolExecutor(12) as threads:
        wishes = _line_up(farm, threads, count=5, at=0)
        places = farm.places()
        began = time.monotonic()
        farm.apis[0].running.send_signal(signal.SIGTERM)
        assert farm.apis[0].running.wait(STOP_SECONDS) == 0
        took = time.monotonic() - began
        ended = [wish["call"].result(timeout=patience.limit(5)) for wish in wishes]

        again = [_wait(farm, threads, wish, at=1) for wish in wishes[::-1]][::-1]
        assert eventually(lambda: farm.attended() == len(wishes))
        assert farm.places() == places
        for call in again:
            _release(farm, held, at=1)
            held = call.result(timeout=patience.limit(20)).json()

    print(f"\nstopped after {took:.1f} s")  # noqa: T201
    assert [answer.status_code for answer in ended] == [409] * 5
    assert {answer.json()["position"] for answer in ended} <= {1, 2, 3, 4, 5}


def test_waiting_holds_no_connection(farm: Farm) -> None:
    farm.new_users(1)
    held = _take(farm)

    async def wait() -> list[Any]:
        async with httpx.AsyncClient(timeout=patience.limit(70), limits=httpx.Limits(max_connections=None)) as client:
            wish = {"wait_seconds": 60}
            calls = [
                asyncio.ensure_future(client.post(f"{farm.urls[number % 2]}/api/v1/{POOL}", json=wish))
                for number in range(200)
            ]
            assert await asyncio.to_thread(eventually, lambda: farm.attended() == len(calls))
            seen = [await asyncio.to_thread(farm.connections) for _ in range(20)]
            for call in calls:
                call.cancel()
            return seen

    seen = asyncio.run(wait())

    most = max(sum(counts.values()) for counts in seen)
    print(f"\nat most {most} connections with 200 calls waiting, {seen[-1]}")  # noqa: T201
    assert most <= 2 * farm.pooled_connections
    assert not any(counts.get("idle in transaction") for counts in seen)
    assert eventually(lambda: farm.attended() == 0)
    _release(farm, held)


def test_a_call_that_waits_at_one_process_has_the_user_that_is_released_at_the_other(farm: Farm) -> None:
    (user_id,) = farm.new_users(1)
    path = f"users/{user_id}/acquire_lock"
    took = []
    with ThreadPoolExecutor(2) as threads:
        for at in (0, 1, 0, 1):
            held = farm.post(path, {}, at=1 - at).json()
            call = threads.submit(farm.post, path, {"wait_seconds": 30}, at=at)
            assert eventually(lambda: farm.attended() == 1)

            farm.post(f"users/{user_id}/release_lock", {"lease_id": held["lease_id"]}, at=1 - at)
            released_at = time.monotonic()
            answer = call.result(timeout=patience.limit(20))
            took.append(time.monotonic() - released_at)

            assert answer.status_code == 200
            assert answer.json()["id"] == user_id
            assert farm.post(path, {}, at=1 - at).json()["type"].endswith("lock-held")
            farm.post(f"users/{user_id}/release_lock", {"lease_id": answer.json()["lease_id"]}, at=at)

    print(f"\nreleased at the other process: {[f'{seconds * 1e3:.0f} ms' for seconds in took]}")  # noqa: T201


def _take(farm: Farm, *, count: int = 1) -> dict[str, Any]:
    return dict(farm.post(POOL, {"count": count}).json())


def _release(farm: Farm, held: dict[str, Any], *, at: int = 0) -> None:
    leases = [{"user_id": user["id"], "lease_id": user["lease_id"]} for user in held["users"]]
    answer = farm.post("users/release_lock", {"leases": leases}, at=at)
    assert answer.status_code == 200, answer.text


def _line_up(farm: Farm, threads: ThreadPoolExecutor, *, count: int, at: int | None = None) -> list[dict[str, Any]]:
    """Calls that wait, one after the other, at one process or at each in turn; each wish with its `call`."""
    wishes: list[dict[str, Any]] = []
    for number in range(count):
        wish: dict[str, Any] = {"request_id": str(uuid.uuid4())}
        wish["call"] = _wait(farm, threads, wish, at=number % 2 if at is None else at)
        wishes.append(wish)
        assert eventually(lambda: farm.attended() == len(wishes))
    return wishes


def _wait(farm: Farm, threads: ThreadPoolExecutor, wish: dict[str, Any], *, at: int) -> "Future[httpx.Response]":
    return threads.submit(farm.post, POOL, {"request_id": wish["request_id"], "wait_seconds": 60}, at=at)
