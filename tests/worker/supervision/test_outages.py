"""A worker whose Redis hangs or whose Postgres is unavailable reports it, waits, recovers and stops in time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from domain.configuration.settings import Settings
from standalone.servers.postgres import Postgres
from standalone.servers.valkey import Valkey
from tests import patience
from tests.patience import until
from tests.worker.supervision.supervisors import ROOT, StartWorker, environment, gone


def test_a_worker_stops_in_time_although_redis_hangs(start_worker: StartWorker, own_valkey: Valkey) -> None:
    worker = start_worker(REDIS_URL=own_valkey.url())
    until(worker.is_ok, seconds=20)
    pids = worker.pids
    os.kill(own_valkey.pid, signal.SIGSTOP)
    time.sleep(1)
    began = time.monotonic()

    worker.popen.send_signal(signal.SIGTERM)
    code = worker.popen.wait(patience.limit(12))
    took = time.monotonic() - began

    os.kill(own_valkey.pid, signal.SIGCONT)
    assert code == 0
    assert gone(pids)
    assert took < patience.limit(10)


def test_health_answers_at_once_while_redis_hangs_and_is_degraded(
    start_worker: StartWorker, own_valkey: Valkey
) -> None:
    worker = start_worker(REDIS_URL=own_valkey.url())
    until(worker.is_ok, seconds=20)
    os.kill(own_valkey.pid, signal.SIGSTOP)

    until(lambda: worker.health()["status"] == "degraded", seconds=10)
    began = time.monotonic()
    code, _ = worker.get("/health")
    took = time.monotonic() - began

    os.kill(own_valkey.pid, signal.SIGCONT)
    assert code == 200
    assert took < patience.limit(2)
    until(worker.is_ok, seconds=15)


def test_without_postgres_the_worker_is_unavailable_waits_and_recovers(
    start_worker: StartWorker, tmp_path: Path, settings: Settings
) -> None:
    server = Postgres(tmp_path / "postgres")
    server.start()
    variables = environment(settings, DATABASE_URL=server.url())
    subprocess.run([sys.executable, "-m", "domain", "migrate"], cwd=ROOT, env=variables, check=True)
    worker = start_worker(DATABASE_URL=server.url())
    until(worker.is_ok, seconds=20)
    pids = worker.pids

    server.kill()

    until(lambda: worker.get("/health")[0] == 503, seconds=10)
    time.sleep(1)
    server.start()
    until(worker.is_ok, seconds=20)
    assert worker.pids == pids
    worker.popen.send_signal(signal.SIGTERM)
    worker.popen.wait(patience.limit(10))
    server.stop()
