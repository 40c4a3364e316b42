"""One timer for all who wait equally long: setting one for each, and calling it off, costs every lock change."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `late` with each that has been here for so many seconds; used on one event loop only."""

    def __init__(self, seconds: float, late: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._late = late
        self._ends: dict[T, float] = {}  # in the order of the ends, which is that of the beginnings
        self._timer: asyncio.TimerHandle | None = None

    def add(self, each: T) -> None:
        loop = asyncio.get_running_loop()
        self._ends[each] = end = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(end, self._look)

    def remove(self, each: T) -> None:
        del self._ends[each]

    def _look(self) -> None:
        """A late call stays until it is removed, and is reported again with the next late one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for each, end in self._ends.items():
            if end > now:
                self._timer = loop.call_at(end, self._look)
                return
            self._late(each)
        self._timer = None
