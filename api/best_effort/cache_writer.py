"""Writing the read cache behind the answers: never in a caller's way, dropped when Redis cannot keep up."""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from domain.locks import Grant, Released, Renewal
from domain.redis.cache import Cache, Entry
from domain.snapshots import Lock, User
from domain.timestamps import utc

WAITING_MOST = 10_000
AT_ONCE = 500
GATHER_SECONDS = 0.02


class CacheWriter:
    """A thread that writes the users it is offered: the newest picture of each.

    Pictures age while they wait, and what is too old is not written.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._waiting = dict[UUID, tuple[float, User]]()
        self._offered = threading.Event()
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="cache-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._offered.set()
        self._thread.join(timeout=2)

    def offer(self, users: Iterable[User]) -> None:
        now = time.monotonic()
        with self._guard:
            for user in users:
                _, known = self._waiting.get(user.id, (now, None))
                newer = known is not None and known.lock_version <= user.lock_version
                if newer or (known is None and len(self._waiting) < WAITING_MOST):
                    self._waiting[user.id] = (now, user)
        if not self._offered.is_set():
            self._offered.set()

    def offer_outcomes(self, outcomes: Sequence[object]) -> None:
        """Take what group commit made certain; refusals change nothing and are passed over."""
        self.offer(outcome.user for outcome in outcomes if isinstance(outcome, Grant | Renewal | Released))

    def forget(self, user_id: UUID) -> None:
        """Take a user out of the cache, and what waits to be written or is on its way there."""
        with self._guard:
            self._waiting.pop(user_id, None)
        with self._writing:
            self._cache.forget(user_id)

    def _run(self) -> None:
        while not self._closing:
            self._offered.wait()
            time.sleep(GATHER_SECONDS)  # what comes close together goes out together
            self._offered.clear()
            while self._write():
                continue

    def _write(self) -> bool:
        with self._writing:
            taken = self._take()
            self._cache.put(taken)
        return bool(taken)

    def _take(self) -> list[Entry]:
        with self._guard:
            taken = [self._waiting.pop(user_id) for user_id in list(self._waiting)[:AT_ONCE]]
        now = time.monotonic()
        return [_entry(user, age_seconds=now - since) for since, user in taken]


def _entry(user: User, *, age_seconds: float) -> Entry:
    """The cache entry of this user's lock, valid for two seconds."""
    return Entry(user.id, user.lock_version, None if user.lock is None else _lock_fields(user.lock), age_seconds)


def _lock_fields(lock: Lock) -> dict[str, Any]:
    """The fields of `LockOut` as JSON has them; Pydantic would take as long as for an answer."""
    return {
        "owner": lock.owner,
        "token": lock.token,
        "acquired_at": utc(lock.acquired_at),
        "expires_at": utc(lock.expires_at),
        "ttl_seconds": lock.ttl_seconds,
        "metadata": dict(lock.metadata),
    }
