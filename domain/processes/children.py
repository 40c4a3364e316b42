"""Processes that a supervisor keeps, each started again when it dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from domain import log

BACKOFF_SECONDS = (0.2, 10.0)
HEALTHY_SECONDS = 60.0

Launched = subprocess.Popen[bytes]

log_ = log.get(__name__)


def launch(module: str, *descriptors: int, counters: str) -> Launched:
    """A module of ours as a program that is given these file descriptors, and leaves its counts in `counters`."""
    return subprocess.Popen(  # noqa: S603  -- a program of ours
        [sys.executable, "-m", module, *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": counters},
        pass_fds=descriptors,
    )


class Child:
    """A process of this program, as `launch` starts it. After a death it rests first: 0.2 s, doubling to 10 s.

    A minute of life makes good for all deaths before.
    """

    def __init__(self, *, program: str, launch: Callable[[], Launched]) -> None:
        self._program = program
        self._launch = launch
        self._popen: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._due = 0.0
        self._deaths = 0

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        popen = self._popen  # once: reports are made in other threads
        return popen.pid if popen is not None and popen.poll() is None else None

    def tend(self, *, died: Callable[[int], None]) -> bool:
        """Start it if it should run and does not; whether that was done.

        `died` is called with the pid of one that ended.
        """
        if self.pid is not None:
            return False
        if self._popen is not None:
            self._mourn(self._popen, died)
        return time.monotonic() >= self._due and self._start()

    def ask_to_stop(self) -> None:
        if self.pid is not None and self._popen is not None:
            self._popen.send_signal(signal.SIGTERM)

    def stop(self, *, seconds: float) -> None:
        """Wait for it to end; killed when it does not."""
        if self._popen is None:
            return
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            log_.warning("process_killed", program=self._program, pid=self._popen.pid)
            self.kill()

    def kill(self) -> None:
        """SIGKILL; to `tend` it is a death like any other."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def _start(self) -> bool:
        self._started_at = time.monotonic()
        try:
            self._popen = self._launch()
        except OSError as error:  # memory or files are short: which may well be why the last one died
            pause = self._rest_a_while()
            log_.warning("process_not_started", program=self._program, error=str(error), again_in_seconds=pause)
            return False
        return True

    def _mourn(self, popen: subprocess.Popen[bytes], died: Callable[[int], None]) -> None:
        if time.monotonic() - self._started_at > HEALTHY_SECONDS:
            self._deaths = 0
        pause = self._rest_a_while()
        self._popen = None
        log_.error("process_died", program=self._program, pid=popen.pid, code=popen.returncode, again_in_seconds=pause)
        died(popen.pid)

    def _rest_a_while(self) -> float:
        """How long, in seconds."""
        first, longest = BACKOFF_SECONDS
        pause = min(longest, first * 2.0 ** min(self._deaths, 10))
        self._deaths += 1
        self._due = time.monotonic() + pause
        return pause
