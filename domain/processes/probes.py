"""Checks that run in the background, each in its own thread: a report reads the last finding and never waits."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from domain import log

PROBE_INTERVAL_SECONDS = 1.0
STALE_SECONDS = 4.0  # longer than the interval and the time-out of a check together: an older finding means it hangs

Figures = Mapping[str, Any]

log_ = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `figures` is None when it failed; `at` is in monotonic seconds."""

    figures: Figures | None
    at: float
    error: str | None = None

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.at


class Probe:
    """Runs `check` once a second until it is closed. Any exception of the check is a finding."""

    def __init__(self, name: str, check: Callable[[], Figures]) -> None:
        self.name = name
        self._check = check
        self._finding = Finding(None, time.monotonic(), "not checked yet")
        self._closing = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"probe-{self.name}", daemon=True).start()

    def close(self) -> None:
        self._closing.set()

    def finding(self) -> Finding:
        """The last finding; a failure when it is so old that the check must hang."""
        last = self._finding
        return Finding(None, last.at, "no answer") if last.age_seconds > STALE_SECONDS else last

    def _run(self) -> None:
        while not self._closing.is_set():
            self._finding = self._found()
            self._closing.wait(PROBE_INTERVAL_SECONDS)

    def _found(self) -> Finding:
        try:
            return Finding(self._check(), time.monotonic())
        except Exception as error:  # noqa: BLE001  -- whatever it is, it is the finding
            log_.warning("check_failed", check=self.name, error=type(error).__name__)
            return Finding(None, time.monotonic(), type(error).__name__)
