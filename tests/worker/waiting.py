"""Waiting for what other threads and processes bring about."""

import time
from collections.abc import Callable


def until(true: Callable[[], object], *, seconds: float = 10.0, what: str = "it") -> float:
    """Wait until the call returns something true; how long that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began
