"""Checks that run in the background, and what each found last."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

EVERY_SECONDS = 1.0
STALE_SECONDS = 3.5  # a probe that has said nothing for so long hangs

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """`figures` is None when the probe failed; `at` is in monotonic seconds."""

    figures: Figures | None
    at: float
    error: str | None = None


class Probe:
    """Asks again and again, in a thread of its own."""

    def __init__(self, name: str, ask: Callable[[], Figures]) -> None:
        self.name = name
        self._ask = ask
        self._finding = Finding(None, time.monotonic(), "not asked yet")

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"probe-{self.name}", daemon=True).start()

    def finding(self) -> Finding:
        """The last finding, unless it is so old that the probe must hang."""
        last = self._finding
        if time.monotonic() - last.at > STALE_SECONDS:
            return Finding(None, last.at, "no answer")
        return last

    def _run(self) -> None:
        while True:
            self._finding = self._look()
            time.sleep(EVERY_SECONDS)

    def _look(self) -> Finding:
        try:
            return Finding(self._ask(), time.monotonic())
        except Exception as error:  # noqa: BLE001  -- whatever it is, it is what was found
            return Finding(None, time.monotonic(), type(error).__name__)
