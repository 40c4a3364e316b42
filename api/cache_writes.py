"""Writing the read cache behind the answers: never in a caller's way, dropped when Redis cannot keep up."""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

from api.outputs import LockOut
from domain.cache import Cache, Entry
from domain.locks import Grant, Released, Renewal
from domain.snapshots import User

WAITING_MOST = 10_000
AT_ONCE = 500


class CacheWriter:
    """A thread that writes what it is offered; entries age while they wait, and what is too old is not written."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._waiting: deque[tuple[float, Entry]] = deque(maxlen=WAITING_MOST)
        self._offered = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="cache-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._offered.set()
        self._thread.join(timeout=2)

    def offer(self, entries: Iterable[Entry]) -> None:
        now = time.monotonic()
        self._waiting.extend((now, entry) for entry in entries)
        self._offered.set()

    def offer_outcomes(self, outcomes: Sequence[object]) -> None:
        """Take what group commit made certain; refusals change nothing and are passed over."""
        self.offer(entry(outcome.user) for outcome in outcomes if isinstance(outcome, Grant | Renewal | Released))

    def _run(self) -> None:
        while not self._closing:
            self._offered.wait()
            self._offered.clear()
            while taken := self._take():
                self._cache.put(taken)

    def _take(self) -> list[Entry]:
        taken = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
        now = time.monotonic()
        return [dataclasses.replace(entry, age_seconds=entry.age_seconds + now - since) for since, entry in taken]


def entry(user: User) -> Entry:
    """What readers of this user's lock may be told for the next two seconds."""
    lock = LockOut.of(user.lock)
    return Entry(user.id, user.lock_version, None if lock is None else lock.model_dump(mode="json"))
