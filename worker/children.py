"""The worker processes, each started again when it dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from domain import log

BACKOFF_SECONDS = (0.2, 10.0)
HEALTHY_SECONDS = 60.0

log_ = log.get(__name__)


class Child:
    """A worker process. After a death it rests before it is started again: 0.2 s, doubling to 10 s.

    A minute of life makes good for all deaths before.
    """

    def __init__(self, *, lifeline: int, environment: Mapping[str, str]) -> None:
        self._lifeline = lifeline
        self._environment = environment
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
        """Start it if it should run and does not; whether that was done. `died` is told the pid of one that ended."""
        if self.pid is not None:
            return False
        if self._popen is not None:
            self._mourn(self._popen, died)
        if time.monotonic() < self._due:
            return False
        self._start()
        return True

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
            log_.warning("worker_process_killed", pid=self._popen.pid)
            self._popen.kill()
            self._popen.wait()

    def _start(self) -> None:
        self._started_at = time.monotonic()
        self._popen = subprocess.Popen(  # noqa: S603  -- a program of ours
            [sys.executable, "-m", "worker.process", str(self._lifeline)],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self._environment},
            pass_fds=(self._lifeline,),
        )

    def _mourn(self, popen: subprocess.Popen[bytes], died: Callable[[int], None]) -> None:
        if time.monotonic() - self._started_at > HEALTHY_SECONDS:
            self._deaths = 0
        first, longest = BACKOFF_SECONDS
        pause = min(longest, first * 2.0 ** min(self._deaths, 10))
        self._deaths += 1
        self._due = time.monotonic() + pause
        self._popen = None
        log_.error("worker_process_died", pid=popen.pid, code=popen.returncode, again_in_seconds=pause)
        died(popen.pid)
