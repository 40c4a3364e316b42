"""The children of a supervisor: real processes that die and that do not stop."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domain.processes.children import Child, Children, Launched

IDLE = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


def started(code: str) -> Callable[[], Launched]:
    return lambda: subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


class Family:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.buried: list[tuple[int, str]] = []
        self.launched: list[Launched] = []

    def of(self, *codes: str) -> Children[Child]:
        children = [Child(program="test", launch=self._noting(code)) for code in codes]
        return Children(children, counters=str(self.folder), bury=lambda pid, folder: self.buried.append((pid, folder)))

    def _noting(self, code: str) -> Callable[[], Launched]:
        def launch() -> Launched:
            self.launched.append(started(code)())
            return self.launched[-1]

        return launch


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    made = Family(tmp_path / "counters")
    made.folder.mkdir()
    yield made
    for popen in made.launched:
        popen.kill()
        popen.wait()
        if popen.stdout is not None:
            popen.stdout.close()


def tended_until(children: Children[Child], condition: Callable[[], bool], *, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        children.tend()
        time.sleep(0.02)
    return condition()


def test_a_dead_child_is_buried_once_and_started_again(family: Family) -> None:
    children = family.of(IDLE, IDLE)
    assert children.tend()
    dead, alive = children.pids

    os.kill(dead, signal.SIGKILL)

    assert tended_until(children, lambda: len(children.pids) == 2 and dead not in children.pids)
    assert alive in children.pids
    assert family.buried == [(dead, str(family.folder))]
    assert children.restarts == 1


def test_a_folder_of_metrics_that_was_removed_is_made_again_before_the_next_start(family: Family) -> None:
    children = family.of(IDLE)
    children.tend()
    shutil.rmtree(family.folder)
    (pid,) = children.pids

    os.kill(pid, signal.SIGKILL)

    assert tended_until(children, lambda: bool(family.buried))
    assert family.folder.stat().st_mode & 0o777 == 0o700


def test_all_children_are_asked_to_stop_and_one_that_does_not_is_killed(family: Family) -> None:
    children = family.of(IDLE, STUBBORN)
    children.tend()
    idle, stubborn = family.launched
    assert stubborn.stdout is not None
    assert stubborn.stdout.readline()

    children.stop(seconds=1)

    assert idle.returncode == -signal.SIGTERM
    assert stubborn.returncode == -signal.SIGKILL
    assert children.pids == ()


def test_a_child_that_cannot_be_launched_is_tried_again(family: Family) -> None:
    failures = [OSError("no memory")]

    def launch() -> Launched:
        if failures:
            raise failures.pop()
        family.launched.append(started(IDLE)())
        return family.launched[-1]

    children = Children([Child(program="test", launch=launch)], counters=str(family.folder), bury=lambda *_: None)
    assert not children.tend()

    assert tended_until(children, lambda: len(children.pids) == 1)
    assert children.restarts == 0
