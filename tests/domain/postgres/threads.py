"""Threads that begin together, each on a connection of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests import patience

T = TypeVar("T")


def together(works: Sequence[Callable[[], T]]) -> list[T]:
    """Run all at once and return what each returned; the first failure is raised."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        start.wait(timeout=patience.limit(30))
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(run, work) for work in works]]
