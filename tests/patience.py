"""How long tests wait for what must happen: one factor for all waits, larger by itself on a machine that is busy.

A wait ends as soon as it can, so patience costs nothing where all is well. It is no part of the laws under test: those
that speak of time are asserted as they are.
"""

import os
import time
from collections.abc import Callable

PAUSE_SECONDS = 0.02
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def factor() -> float:
    """BOTFARM_TEST_PATIENCE, or 1 and more with the runnable processes for each core."""
    given = os.environ.get("BOTFARM_TEST_PATIENCE")
    return float(given) if given else max(1.0, os.getloadavg()[0] / CORES)


def limit(usual: float) -> float:
    """The limit of a wait that usually ends within `usual` seconds."""
    return usual * factor()


def eventually(condition: Callable[[], object], *, seconds: float = 30.0) -> bool:
    """Whether the condition becomes true in time. The limit grows while it waits, as the load does."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit(seconds):
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def until(condition: Callable[[], object], *, seconds: float = 10.0, what: str = "it") -> float:
    """Wait until the condition is true; how long that took, in seconds."""
    began = time.monotonic()
    assert eventually(condition, seconds=seconds), f"{what} did not happen within {limit(seconds):.0f} s"
    return time.monotonic() - began
