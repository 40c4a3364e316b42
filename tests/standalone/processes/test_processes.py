import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from standalone.errors import StandaloneError
from standalone.processes import processes
from standalone.processes.processes import Process
from tests.patience import eventually

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]
WITH_CHILD = [
    sys.executable,
    "-c",
    "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)",
]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    started = Process("part", log=tmp_path / "part.log", parting_signal=signal.SIGTERM)
    yield started
    started.kill()


def printed(process: Process) -> str:
    """The first line it wrote."""
    assert eventually(lambda: bool(process.last_lines()), seconds=10)
    return process.last_lines()[0]


def test_what_listens_is_stopped_and_what_does_not_is_killed(process: Process) -> None:
    process.launch(SLEEP)
    process.stop(by={signal.SIGTERM: 10.0})
    after_sleep = process.ending

    process.launch(DEAF)
    printed(process)
    process.stop(by={signal.SIGTERM: 0.1})

    assert (after_sleep, process.ending) == ("killed by SIGTERM", "killed by SIGKILL")


def test_a_killed_process_takes_its_children_along(process: Process) -> None:
    process.launch(WITH_CHILD)
    child = psutil.Process(int(printed(process)))

    process.kill()

    assert processes.gone(child)


def test_a_process_that_was_killed_by_others_leaves_no_children_once_it_is_mourned(process: Process) -> None:
    process.launch(WITH_CHILD)
    child = psutil.Process(int(printed(process)))
    os.kill(process.pid, signal.SIGKILL)
    assert eventually(lambda: not process.alive, seconds=10)

    process.kill()

    assert eventually(lambda: processes.gone(child), seconds=10)


def test_asking_for_its_pid_fails_when_it_does_not_run(process: Process) -> None:
    with pytest.raises(StandaloneError, match="part does not run"):
        _ = process.pid

    assert process.living_pid is None


def test_only_the_last_run_is_shown_and_only_to_the_owner(process: Process) -> None:
    for word in ("first", "second"):
        process.launch([sys.executable, "-c", f"print('{word}')"])
        assert eventually(lambda: not process.alive, seconds=10)

    assert process.last_lines() == ["second"]
    assert process.log.read_text() == "first\nsecond\n"
    assert process.log.stat().st_mode & 0o077 == 0


def test_a_long_log_is_set_aside(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ROTATED_BYTES", 3)
    for word in ("first", "second"):
        process.launch([sys.executable, "-c", f"print('{word}')"])
        assert eventually(lambda: not process.alive, seconds=10)

    assert process.log.read_text() == "second\n"
    assert process.log.with_suffix(".1.log").read_text() == "first\n"


def test_ctrl_c_in_the_terminal_does_not_reach_it(process: Process) -> None:
    process.launch(SLEEP)

    assert os.getsid(process.pid) == process.pid != os.getsid(0)


@contextlib.contextmanager
def parent_of_a_sleeper(*, before: str = "") -> Iterator[tuple["subprocess.Popen[str]", psutil.Process]]:
    """A process that has started `sleep` on a leash."""
    code = (
        f"{before}\n"
        "import signal, subprocess, time\n"
        "from standalone.processes import processes\n"
        "command = processes.leashed(['/bin/sleep', '60'], parting_signal=signal.SIGTERM)\n"
        "sleeper = subprocess.Popen(command, pass_fds=[processes.lifeline()])\n"
        "print(sleeper.pid, flush=True); sleeper.wait(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            sleeper = psutil.Process(int(parent.stdout.readline()))
            assert eventually(lambda: sleeper.name() == "sleep", seconds=10)
            yield parent, sleeper
        finally:
            parent.kill()


def test_no_process_outlives_its_parent_however_that_ends() -> None:
    with parent_of_a_sleeper() as (parent, sleeper):
        parent.kill()

        assert eventually(lambda: processes.gone(sleeper), seconds=10)


WITHOUT_PRCTL = """
import pathlib, tempfile
from standalone.processes import processes
text = processes.LEASH.read_text()
assert '"prctl"' in text
processes.LEASH = pathlib.Path(tempfile.mkdtemp(), "leash.py")
processes.LEASH.write_text(text.replace('"prctl"', '"no_such_call"'))
"""


def test_a_watcher_holds_the_leash_where_the_system_does_not() -> None:
    with parent_of_a_sleeper(before=WITHOUT_PRCTL) as (parent, sleeper):
        time.sleep(0.3)
        assert not processes.gone(sleeper)

        parent.kill()

        assert eventually(lambda: processes.gone(sleeper), seconds=10)


def test_the_watcher_goes_when_the_process_goes() -> None:
    with parent_of_a_sleeper(before=WITHOUT_PRCTL) as (_parent, sleeper):
        watching = [other for other in psutil.process_iter(["cmdline"]) if watches(other, sleeper)]

        sleeper.kill()

        assert len(watching) == 1
        assert eventually(lambda: processes.gone(watching[0]), seconds=10)


def watches(other: psutil.Process, sleeper: psutil.Process) -> bool:
    """The watcher is a fork of the leash, whose command line names the parent."""
    line = other.info["cmdline"] or []
    return str(sleeper.ppid()) in line and any(word.endswith("leash.py") for word in line)


def test_a_program_that_cannot_run_says_so_in_its_log(process: Process) -> None:
    process.launch(["/no/such/program"])
    assert eventually(lambda: not process.alive, seconds=10)

    assert process.last_lines() == ["cannot run /no/such/program: No such file or directory"]
    assert process.ending == "exit code 126"
