"""The child processes of a supervisor, each started again when it dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from domain import log
from domain.processes.backoff import Backoff

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
HEALTHY_SECONDS = 60.0

Launched = subprocess.Popen[bytes]

log_ = log.get(__name__)


def launch(module: str, *descriptors: int, counters: str) -> Launched:
    """Start a module of ours as a program with these file descriptors; it writes its metrics to folder `counters`."""
    return subprocess.Popen(  # noqa: S603  -- a program of ours
        [sys.executable, "-m", module, *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": counters},
        pass_fds=descriptors,
    )


class Child:
    """A process of this program, as `launch` starts it. After a death it pauses first: 0.2 s, doubling to 10 s.

    A life longer than a minute resets the pause.
    """

    def __init__(self, *, program: str, launch: Callable[[], Launched]) -> None:
        self._program = program
        self._launch = launch
        self._popen: Launched | None = None
        self._started_at = 0.0
        self._due = 0.0
        self._backoff = Backoff(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        popen = self._popen  # read once: reports are made in other threads
        return popen.pid if popen is not None and popen.poll() is None else None

    def tend(self, *, died: Callable[[int], None]) -> bool:
        """Start it if it does not run and is due; returns whether it was started. `died` gets the pid of a dead one."""
        if self.pid is not None:
            return False
        if self._popen is not None:
            self._report_death(self._popen, died)
        return time.monotonic() >= self._due and self._start()

    def ask_to_stop(self) -> None:
        if self.pid is not None and self._popen is not None:
            self._popen.send_signal(signal.SIGTERM)

    def stop(self, *, seconds: float) -> None:
        """Wait for it to end; kill it when it does not."""
        if self._popen is None:
            return
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            log_.warning("process_killed", program=self._program, pid=self._popen.pid)
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL; `tend` treats that like any other death."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def _start(self) -> bool:
        self._started_at = time.monotonic()
        try:
            self._popen = self._launch()
        except OSError as error:  # out of memory or of files, which may be why the last one died
            pause = self._pause()
            log_.warning("process_not_started", program=self._program, error=str(error), again_in_seconds=pause)
            return False
        return True

    def _report_death(self, popen: Launched, died: Callable[[int], None]) -> None:
        if time.monotonic() - self._started_at > HEALTHY_SECONDS:
            self._backoff.reset()
        pause = self._pause()
        self._popen = None
        log_.error("process_died", program=self._program, pid=popen.pid, code=popen.returncode, again_in_seconds=pause)
        died(popen.pid)

    def _pause(self) -> float:
        """Set when the next start is due; returns the pause until then in seconds."""
        pause = self._backoff.failed()
        self._due = time.monotonic() + pause
        return pause


class Tended(Protocol):
    """A child process, or what wraps one."""

    @property
    def pid(self) -> int | None: ...

    def tend(self, *, died: Callable[[int], None]) -> bool: ...

    def ask_to_stop(self) -> None: ...

    def stop(self, *, seconds: float) -> None: ...


C = TypeVar("C", bound=Tended)


class Children(Generic[C]):
    """All processes of one supervisor. `counters` is the folder to which they write their metrics.

    `bury` removes the gauges of a dead pid from that folder. It is passed in because the domain does not import the
    metrics client.
    """

    def __init__(self, children: Sequence[C], *, counters: str, bury: Callable[[int, str], object]) -> None:
        self.all = children
        self._counters = counters
        self._bury = bury
        self._starts = 0

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(pid for child in self.all if (pid := child.pid) is not None)

    @property
    def restarts(self) -> int:
        return max(0, self._starts - len(self.all))

    def tend(self) -> bool:
        """Start every process that does not run and is due; returns whether any was started."""
        started = [child.tend(died=self._died) for child in self.all]
        self._starts += sum(started)
        return any(started)

    def stop(self, *, seconds: float) -> None:
        """Ask all to stop before waiting for any; kill those that run longer than `seconds`."""
        deadline = time.monotonic() + seconds
        for child in self.all:
            child.ask_to_stop()
        for child in self.all:
            child.stop(seconds=max(0.0, deadline - time.monotonic()))

    def _died(self, pid: int) -> None:
        # Cleaners of /tmp remove old folders, and no process could start without this one.
        Path(self._counters).mkdir(mode=0o700, exist_ok=True)
        self._bury(pid, self._counters)
