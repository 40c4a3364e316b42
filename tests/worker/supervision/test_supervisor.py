"""A supervisor and its processes: what they do, and who outlives whom."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from domain.configuration.settings import Settings
from domain.processes import parent_watch
from tests import patience
from tests.patience import until
from tests.worker.farms import Farm
from tests.worker.supervision.supervisors import ROOT, StartWorker, environment, gone

COMMAND = re.compile(r'`python -c "(.*?actors\.(\w+)\.send\(\))"`')
ACTORS = (
    "from worker import actors; print(*(n for n, a in actors.broker.actors.items() if a.queue_name == actors.QUEUE))"
)
LEFT = """
from worker.broker import broker, settings
print(broker.client.hlen(settings.redis_prefix + "dramatiq:botfarm.msgs"))
"""


def test_a_worker_numbers_publishes_and_expires_and_counts_it(farm: Farm, start_worker: StartWorker) -> None:
    worker = start_worker()
    until(worker.is_ok, seconds=20)
    (user_id,) = farm.grow()
    farm.acquire(user_id, seconds=0.3)

    until(lambda: farm.state.published_seq == 3)

    assert worker.metric("botfarm_relay_events_sequenced_total") == 3
    assert worker.metric("botfarm_relay_events_published_total") == 3
    assert worker.metric("botfarm_change_to_stream_seconds_count") == 3
    assert worker.metric("botfarm_locks_expired_total") == 1
    assert worker.metric("botfarm_epoch") == 1


def test_a_killed_process_is_started_again_and_the_counters_go_on(farm: Farm, start_worker: StartWorker) -> None:
    worker = start_worker(BOTFARM_WORKER_PROCESSES="2")
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


def test_a_process_that_dies_again_and_again_is_started_with_growing_pauses(start_worker: StartWorker) -> None:
    worker = start_worker()
    until(lambda: worker.ready, seconds=20)
    pauses = []

    for _ in range(3):
        (pid,) = worker.pids
        os.kill(pid, signal.SIGKILL)
        pauses.append(until(lambda dead=pid: worker.pids not in ([], [dead]), seconds=20))  # type: ignore[misc]

    assert pauses[0] < pauses[1] < pauses[2]
    assert pauses[2] == pytest.approx(0.8, abs=0.5)


def test_no_process_outlives_a_supervisor_that_was_killed(start_worker: StartWorker) -> None:
    worker = start_worker(BOTFARM_WORKER_PROCESSES="2")
    until(worker.is_ok, seconds=20)
    pids = worker.pids

    worker.popen.kill()

    assert until(lambda: gone(pids), seconds=5) < patience.limit(2)


def test_a_process_ends_when_its_lifeline_is_cut_although_its_parent_lives(settings: Settings) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "worker.supervision.child", str(reading)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(settings), pass_fds=(reading,))
    time.sleep(2)
    assert process.poll() is None

    os.close(writing)

    assert process.wait(patience.limit(2)) == parent_watch.ORPHANED
    os.close(reading)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_gets_a_stop_signal_ends_with_its_processes(
    number: signal.Signals, start_worker: StartWorker
) -> None:
    worker = start_worker(BOTFARM_WORKER_PROCESSES="2")
    until(worker.is_ok, seconds=20)
    pids = worker.pids
    began = time.monotonic()

    worker.popen.send_signal(number)
    code = worker.popen.wait(patience.limit(10))

    assert code == 0
    assert gone(pids)
    assert time.monotonic() - began < patience.limit(10)


def test_the_documented_commands_run_every_duty_on_demand(start_worker: StartWorker, settings: Settings) -> None:
    worker = start_worker()
    until(worker.is_ok, seconds=20)
    documented = COMMAND.findall((ROOT / "docs" / "on-demand-runs.md").read_text())
    assert {name for _, name in documented} == set(run(settings, ACTORS).split())

    for code, _ in documented:
        run(settings, code)

    until(lambda: int(run(settings, LEFT)) == 0, seconds=20)
    assert worker.metric("botfarm_loop_failures_total") == 0


def test_without_a_worker_a_documented_command_leaves_its_run_in_the_queue(settings: Settings) -> None:
    """The control of the test above: an empty queue says that a worker has taken the runs."""
    (code, _), *_ = COMMAND.findall((ROOT / "docs" / "on-demand-runs.md").read_text())

    run(settings, code)

    assert int(run(settings, LEFT)) == 1


def run(settings: Settings, code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=ROOT, env=environment(settings), check=True, capture_output=True, text=True
    ).stdout
