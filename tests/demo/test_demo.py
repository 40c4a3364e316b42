"""The whole, as `make demo` runs it, with fewer clients and less time."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests import patience
from tests.patience import eventually

SOURCES = Path(__file__).resolve().parents[2]
SECONDS = 100.0

Start = Callable[..., "subprocess.Popen[str]"]


def gone(process: psutil.Process) -> bool:
    """Ended; a zombie has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def family(demo: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(demo.pid).children(recursive=True)


def folder(processes: list[psutil.Process]) -> Path:
    """Where the run keeps its files, as a client is told."""
    words = next(words for words in map(command, processes) if "demo.clients" in words)
    return Path(words[words.index("--users") + 1]).parent


def at_work(demo: "subprocess.Popen[str]") -> bool:
    """Whether servers and clients all run."""
    modules = {word for process in family(demo) for word in command(process)}
    return modules >= {"demo.clients", "worker", "api"}


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "demo", *arguments],
                cwd=SOURCES,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run

    for demo in started:
        demo.kill()
        demo.communicate()


def test_a_short_run_holds_every_law_and_says_so_in_a_plain_log(start: Start) -> None:
    demo = start("--seconds", "3", "--clients", "4")

    out, err = demo.communicate(timeout=patience.limit(100))

    assert (demo.returncode, err) == (0, ""), out
    assert "5,000 created, 0 there already" in out
    assert re.search(r"changes, [\d,]+/s, 1 killed", out)
    assert out.count("✔ held") == 7
    assert "\x1b" not in out
    assert len(out.splitlines()) < 60


def test_an_interrupted_run_leaves_no_process_and_no_file(start: Start) -> None:
    demo = start("--seconds", "60", "--clients", "4")
    assert eventually(lambda: at_work(demo))
    everybody = family(demo)
    files = folder(everybody)

    demo.send_signal(signal.SIGINT)
    demo.send_signal(signal.SIGTERM)  # as make does after Ctrl-C
    out, err = demo.communicate(timeout=patience.limit(60))

    assert (demo.returncode, err) == (130, "")
    assert "Interrupted: everything has been stopped." in out
    assert all(map(gone, everybody))
    assert not files.exists()


def test_a_killed_run_leaves_no_process(start: Start) -> None:
    demo = start("--seconds", "60", "--clients", "4")
    assert eventually(lambda: at_work(demo))
    everybody = family(demo)
    files = folder(everybody)

    demo.kill()

    assert eventually(lambda: all(map(gone, everybody)))
    shutil.rmtree(files)  # nobody was left to do it


def test_an_api_that_is_not_there_is_one_line(start: Start) -> None:
    demo = start("--api-url", "http://127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1/0")

    _, err = demo.communicate(timeout=patience.limit(60))

    assert demo.returncode == 1
    assert err.startswith("botfarm: the API at http://127.0.0.1:1/api/v1/ does not answer")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [("--api-url", "http://127.0.0.1:1"), ("--seconds", "0"), ("--seconds", "nan"), ("--clients", "1")],
)
def test_options_that_cannot_be_meant_are_refused(start: Start, arguments: tuple[str, ...]) -> None:
    demo = start(*arguments)

    _, err = demo.communicate(timeout=patience.limit(60))

    assert demo.returncode == 2
    assert "usage: python -m demo" in err
