"""`python -m worker` as an operator meets it: real processes, killed and stopped."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, text

from domain import lifeline
from domain.settings import Settings
from standalone.postgres import Postgres
from standalone.valkey import Valkey
from tests.worker.farms import Farm
from tests.worker.waiting import until

ROOT = Path(__file__).parents[2]


@dataclass
class Worker:
    """A supervisor with its processes."""

    popen: subprocess.Popen[str]
    ready_file: Path

    @property
    def ready(self) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            told: dict[str, Any] = json.loads(self.ready_file.read_text())
            return told
        return {}

    @property
    def pids(self) -> list[int]:
        return list(self.ready["pids"])

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.ready["url"] + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def health(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.get("/health")[1])
        return told

    def metric(self, name: str) -> float:
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def is_ok(self) -> bool:
        return bool(self.ready) and self.health()["status"] == "ok"


StartWorker = Callable[..., Worker]


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[StartWorker]:
    started: list[subprocess.Popen[str]] = []

    def start(**environment: str) -> Worker:
        ready_file = tmp_path / f"ready-{len(started)}.json"
        command = [sys.executable, "-m", "worker", "--ready-file", str(ready_file)]
        popen = subprocess.Popen(
            command, cwd=ROOT, env=_environment(settings, **environment), stderr=subprocess.PIPE, text=True
        )
        started.append(popen)
        return Worker(popen, ready_file)

    yield start
    for popen in started:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(popen.pid).children():
                child.kill()
        popen.kill()
        popen.communicate()


def _environment(settings: Settings, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "BOTFARM_REDIS_PREFIX": settings.redis_prefix,
        "BOTFARM_WORKER_PORT": "0",
        "TMPDIR": str(Path(settings.secret_keys_file or "").parent),  # a killed supervisor leaves its counters behind
        **more,
    }


def _gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def test_a_worker_numbers_publishes_and_expires_and_says_so(farm: Farm, start: StartWorker) -> None:
    worker = start()
    until(worker.is_ok, seconds=20)
    (user_id,) = farm.grow()
    farm.acquire(user_id, seconds=0.3)

    until(lambda: farm.state.published_seq == 3)

    assert worker.metric("botfarm_relay_events_sequenced_total") == 3
    assert worker.metric("botfarm_relay_events_published_total") == 3
    assert worker.metric("botfarm_change_to_stream_seconds_count") == 3
    assert worker.metric("botfarm_locks_expired_total") == 1
    assert worker.metric("botfarm_epoch") == 1


def test_a_killed_process_is_started_again_and_the_counters_go_on(farm: Farm, start: StartWorker) -> None:
    worker = start(BOTFARM_WORKER_PROCESSES="2")
    until(worker.is_ok, seconds=20)
    farm.change(4)
    until(lambda: farm.state.published_seq == 4)
    before = worker.pids

    os.kill(before[0], signal.SIGKILL)

    until(lambda: len(worker.pids) == 2 and before[0] not in worker.pids, seconds=20)
    assert before[1] in worker.pids
    farm.change(4)
    until(lambda: farm.state.published_seq == 8)
    until(worker.is_ok, seconds=20)
    assert worker.metric("botfarm_relay_events_sequenced_total") == 8
    assert worker.metric("botfarm_worker_restarts_total") == 1


def test_a_process_that_dies_again_and_again_is_started_with_growing_pauses(start: StartWorker) -> None:
    worker = start()
    until(lambda: worker.ready, seconds=20)
    pauses = []

    for _ in range(3):
        (pid,) = worker.pids
        os.kill(pid, signal.SIGKILL)
        pauses.append(until(lambda dead=pid: worker.pids not in ([], [dead]), seconds=20))  # type: ignore[misc]

    assert pauses[0] < pauses[1] < pauses[2]
    assert pauses[2] == pytest.approx(0.8, abs=0.5)


def test_no_process_outlives_a_supervisor_that_was_killed(start: StartWorker) -> None:
    worker = start(BOTFARM_WORKER_PROCESSES="2")
    until(worker.is_ok, seconds=20)
    pids = worker.pids

    worker.popen.kill()

    assert until(lambda: _gone(pids), seconds=5) < 2


def test_a_process_ends_when_its_lifeline_is_cut_although_its_parent_lives(settings: Settings) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "worker.process", str(reading)]
    process = subprocess.Popen(command, cwd=ROOT, env=_environment(settings), pass_fds=(reading,))
    time.sleep(2)
    assert process.poll() is None

    os.close(writing)

    assert process.wait(2) == lifeline.ORPHANED
    os.close(reading)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_ends_with_its_processes(number: signal.Signals, start: StartWorker) -> None:
    worker = start(BOTFARM_WORKER_PROCESSES="2")
    until(worker.is_ok, seconds=20)
    pids = worker.pids
    began = time.monotonic()

    worker.popen.send_signal(number)
    code = worker.popen.wait(10)

    assert code == 0
    assert _gone(pids)
    assert time.monotonic() - began < 10


def test_a_worker_stops_in_time_although_redis_hangs(start: StartWorker, own_valkey: Valkey) -> None:
    worker = start(REDIS_URL=own_valkey.url())
    until(worker.is_ok, seconds=20)
    pids = worker.pids
    os.kill(own_valkey.pid, signal.SIGSTOP)
    time.sleep(1)
    began = time.monotonic()

    worker.popen.send_signal(signal.SIGTERM)
    code = worker.popen.wait(12)
    took = time.monotonic() - began

    os.kill(own_valkey.pid, signal.SIGCONT)
    assert code == 0
    assert _gone(pids)
    assert took < 10


def test_health_answers_at_once_while_redis_hangs_and_is_degraded(start: StartWorker, own_valkey: Valkey) -> None:
    worker = start(REDIS_URL=own_valkey.url())
    until(worker.is_ok, seconds=20)
    os.kill(own_valkey.pid, signal.SIGSTOP)

    until(lambda: worker.health()["status"] == "degraded", seconds=10)
    began = time.monotonic()
    code, _ = worker.get("/health")
    took = time.monotonic() - began

    os.kill(own_valkey.pid, signal.SIGCONT)
    assert code == 200
    assert took < 2
    until(worker.is_ok, seconds=15)


def test_without_postgres_the_worker_is_unavailable_waits_and_recovers(
    start: StartWorker, tmp_path: Path, settings: Settings
) -> None:
    server = Postgres(tmp_path / "postgres")
    server.start()
    environment = _environment(settings, DATABASE_URL=server.url())
    subprocess.run([sys.executable, "-m", "domain", "migrate"], cwd=ROOT, env=environment, check=True)
    worker = start(DATABASE_URL=server.url())
    until(worker.is_ok, seconds=20)
    pids = worker.pids

    server.kill()

    until(lambda: worker.get("/health")[0] == 503, seconds=10)
    time.sleep(1)
    server.start()
    until(worker.is_ok, seconds=20)
    assert worker.pids == pids
    worker.popen.send_signal(signal.SIGTERM)
    worker.popen.wait(10)
    server.stop()


def test_a_worker_refuses_a_schema_older_than_it_needs_in_one_line(start: StartWorker, engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM alembic_version"))

    worker = start()
    _, said = worker.popen.communicate(timeout=20)

    assert worker.popen.returncode == 1
    assert "older than this worker needs" in said
    assert len(said.splitlines()) == 1


def test_a_start_without_postgres_ends_after_ten_seconds_in_one_line(start: StartWorker) -> None:
    began = time.monotonic()

    worker = start(DATABASE_URL="postgresql://nobody:secret@127.0.0.1:1/x")
    _, said = worker.popen.communicate(timeout=20)

    assert worker.popen.returncode == 1
    assert 5 < time.monotonic() - began < 14
    assert len(said.splitlines()) == 1
    assert "cannot use postgresql+psycopg2://nobody:***@127.0.0.1:1/x" in said


def test_an_address_that_is_taken_is_told_in_one_line(start: StartWorker) -> None:
    first = start(BOTFARM_WORKER_HOST="127.0.0.1")
    until(lambda: first.ready, seconds=20)

    second = start(BOTFARM_WORKER_HOST="127.0.0.1", BOTFARM_WORKER_PORT=first.ready["url"].rpartition(":")[2])
    _, said = second.popen.communicate(timeout=20)

    assert second.popen.returncode == 1
    assert said.splitlines()[-1].startswith("botfarm: cannot listen on 127.0.0.1:")


def test_the_actors_do_the_duties_on_demand(start: StartWorker, settings: Settings) -> None:
    worker = start()
    until(worker.is_ok, seconds=20)
    send = "from worker import actors; [a.send() for a in (actors.relay_once, actors.sweep_expired, actors.sweep_line)]"
    subprocess.run([sys.executable, "-c", send], cwd=ROOT, env=_environment(settings), check=True)

    queue = (
        "from worker.broker import broker, settings;"
        "print(broker.client.hlen(settings.redis_prefix + 'dramatiq:botfarm.msgs'))"
    )

    def left() -> int:
        asked = [sys.executable, "-c", queue]
        return int(subprocess.run(asked, cwd=ROOT, env=_environment(settings), check=True, capture_output=True).stdout)

    until(lambda: left() == 0, seconds=20)
    assert worker.metric("botfarm_loop_failures_total") == 0
