"""The principal of a presented key: read from Postgres, and cached for three seconds.

So this process refuses a key within five seconds of its revocation in any process: three for which an entry is cached,
and less than two between two checks of a call that stays open. The three seconds count from before the query. The
database's clock decides when a key expires; an entry holds how long the key was still valid then.

Entries are cached by the digest of the key. Unknown keys have a cache of their own, and both are bounded: a client that
guesses keys causes at most one query per key in three seconds, and evicts no good key.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from cachetools import LRUCache

from api.auth.principals import ANONYMOUS, Principal
from api.execution.database_threads import Database
from domain import keys, log
from domain.errors import DatabaseUnavailable, Overloaded, Unauthenticated
from domain.keys import Recognised

CACHED_SECONDS = 3.0
RECHECK_SECONDS = 1.5
CACHED_MOST = 10_000
USE_GATHERED_SECONDS = 1.0
SCHEME = b"bearer "

log_ = log.get(__name__)


@dataclass(slots=True)
class _Cached:
    """The principal of a key until a time of the monotonic clock; None for a key that is not in force."""

    principal: Principal | None
    until: float


@dataclass(eq=False)
class KeyLookup:
    """Used on the event loop only. With authentication off every caller is ANONYMOUS, whatever key it presents."""

    database: Database
    off: bool
    _good: LRUCache[bytes, _Cached] = field(default_factory=lambda: LRUCache(CACHED_MOST))
    _bad: LRUCache[bytes, _Cached] = field(default_factory=lambda: LRUCache(CACHED_MOST))
    _asking: dict[bytes, "asyncio.Task[Principal | None]"] = field(default_factory=dict)
    _watched: dict[bytes, dict[object, Callable[[], object]]] = field(default_factory=dict)
    _used: set[UUID] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def identify(self, authorization: bytes | None) -> Principal:
        """The principal whose key an `Authorization` header holds: the only way in for a presented key.

        Raises Unauthenticated, and DatabaseUnavailable when neither cache nor Postgres can answer.
        """
        if self.off:
            return ANONYMOUS
        if authorization is None or authorization[: len(SCHEME)].lower() != SCHEME:
            raise Unauthenticated
        digest = keys.digest(authorization[len(SCHEME) :].strip().decode("latin-1"))
        if digest is None:
            raise Unauthenticated
        return await self._find(digest)

    async def confirm(self, principal: Principal) -> None:
        """Check the key of an open call again. Raises Unauthenticated when it is no longer in force."""
        if principal.digest is not None:
            await self._find(principal.digest)

    def watch(self, principal: Principal, end: Callable[[], object]) -> Callable[[], None]:
        """Call `end` once the key is no longer in force; the returned function cancels that."""
        digest = principal.digest
        if digest is None:
            return lambda: None
        token = object()
        if digest not in self._watched:
            self._watched[digest] = {}
            self._start(self._recheck(digest))
        self._watched[digest][token] = end

        def forget() -> None:
            self._watched.get(digest, {}).pop(token, None)

        return forget

    async def _find(self, digest: bytes) -> Principal:
        found = self._good.get(digest) or self._bad.get(digest)
        if found is not None and time.monotonic() < found.until:
            principal = found.principal
        else:
            principal = await self._ask_once(digest)
        if principal is None:
            raise Unauthenticated
        return principal

    async def _ask_once(self, digest: bytes) -> Principal | None:
        """Concurrent callers with one key share one query; cancelling one of them does not cancel the query."""
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.get_running_loop().create_task(self._ask(digest))
            asking.add_done_callback(lambda task: self._asked(digest, task))
        return await asyncio.shield(asking)

    def _asked(self, digest: bytes, task: "asyncio.Task[Principal | None]") -> None:
        self._asking.pop(digest, None)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it when all callers have hung up

    async def _ask(self, digest: bytes) -> Principal | None:
        asked_at = time.monotonic()
        found = await self.database.run(keys.recognise, digest=digest)
        seconds = CACHED_SECONDS
        if found is not None and found.seconds_left is not None:
            seconds = min(seconds, found.seconds_left)
        principal = None if found is None else _principal(found, digest)
        self._store(digest, _Cached(principal, asked_at + seconds))
        if found is not None and found.unnoted:
            self._note_use(found.id)
        return principal

    def _store(self, digest: bytes, found: _Cached) -> None:
        cache, other = (self._bad, self._good) if found.principal is None else (self._good, self._bad)
        other.pop(digest, None)
        cache[digest] = found

    async def _recheck(self, digest: bytes) -> None:
        """Check a key for as long as a call with it stays open. Without Postgres no call gets data, so it may wait."""
        while self._watched[digest]:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                await self._find(digest)
            except Unauthenticated:
                for end in list(self._watched[digest].values()):
                    end()
                break
            except (DatabaseUnavailable, Overloaded):
                continue
            except Exception:  # whatever it is, the next check may succeed
                log_.exception("key_check_failed")
        del self._watched[digest]

    def _note_use(self, key_id: UUID) -> None:
        """Record the use of the key, in batches: no call waits for it, and a lost record is made at the next use."""
        if not self._used:
            self._start(self._write_uses())
        self._used.add(key_id)

    async def _write_uses(self) -> None:
        await asyncio.sleep(USE_GATHERED_SECONDS)
        used, self._used = self._used, set()
        try:
            await self.database.run(keys.note_use, ids=used)
        except (DatabaseUnavailable, Overloaded):
            log_.warning("key_use_not_noted", keys=len(used))

    def _start(self, work: Any) -> None:  # noqa: ANN401  -- a coroutine of any kind
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _principal(found: Recognised, digest: bytes) -> Principal:
    return Principal(
        name=found.name,
        scopes=found.scopes,
        projects=found.projects,
        locks_most=found.locks_most,
        expires_at=found.expires_at,
        digest=digest,
    )
