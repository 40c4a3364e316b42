"""Who a presented key belongs to: asked of Postgres, and remembered for three seconds.

So a key that was revoked, wherever, is refused here within five: three that an answer is remembered, and less than two
between two looks at a call that stays open. Whatever is remembered counts from before the question was put. A key's
end is judged by the database's clock; what is remembered says how long it had left then.

Answers are remembered by the key's digest, bad ones as well, apart and no more than so many: nobody who tries keys can
have the database asked twice for the same, nor push the good ones out.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from api.auth.principals import ANONYMOUS, Principal
from api.execution.database_threads import Database
from domain import keys, log
from domain.errors import DatabaseUnavailable, Overloaded, Unauthenticated
from domain.keys import Recognised

REMEMBERED_SECONDS = 3.0
LOOK_SECONDS = 1.5
REMEMBERED_MOST = 10_000
USE_GATHERED_SECONDS = 1.0
SCHEME = b"bearer "

log_ = log.get(__name__)


@dataclass(slots=True)
class _Remembered:
    """What came of a key, good until a moment of the monotonic clock; None is a key that is not in force."""

    principal: Principal | None
    until: float


@dataclass(eq=False)
class Identities:
    """Used on the event loop only. With authentication off everybody is the same principal, whatever is presented."""

    database: Database
    off: bool
    _good: OrderedDict[bytes, _Remembered] = field(default_factory=OrderedDict)
    _bad: OrderedDict[bytes, _Remembered] = field(default_factory=OrderedDict)
    _asking: dict[bytes, "asyncio.Task[Principal | None]"] = field(default_factory=dict)
    _watched: dict[bytes, dict[object, Callable[[], object]]] = field(default_factory=dict)
    _used: set[UUID] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def identify(self, authorization: bytes | None) -> Principal:
        """The principal whose key an `Authorization` header holds: the only way in for a presented key.

        Raises Unauthenticated, and DatabaseUnavailable when Postgres cannot say whether it is good.
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
        """For a call that has been open for a while. Raises Unauthenticated when its key is no longer in force."""
        if principal.digest is not None:
            await self._find(principal.digest)

    def watch(self, principal: Principal, end: Callable[[], object]) -> Callable[[], None]:
        """Have `end` called once the key is no longer in force; what is returned calls that off."""
        digest = principal.digest
        if digest is None:
            return lambda: None
        token = object()
        if digest not in self._watched:
            self._watched[digest] = {}
            self._start(self._look(digest))
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
        """Callers of one key that come at the same time share one question; none is cancelled with another."""
        asking = self._asking.get(digest)
        if asking is None:
            asking = self._asking[digest] = asyncio.get_running_loop().create_task(self._ask(digest))
            asking.add_done_callback(lambda task: self._asked(digest, task))
        return await asyncio.shield(asking)

    def _asked(self, digest: bytes, task: "asyncio.Task[Principal | None]") -> None:
        self._asking.pop(digest, None)
        if not task.cancelled():
            task.exception()  # seen, even if all who asked have hung up

    async def _ask(self, digest: bytes) -> Principal | None:
        asked_at = time.monotonic()
        found = await self.database.run(keys.recognise, digest=digest)
        seconds = REMEMBERED_SECONDS
        if found is not None and found.seconds_left is not None:
            seconds = min(seconds, found.seconds_left)
        principal = None if found is None else _principal(found, digest)
        self._remember(digest, _Remembered(principal, asked_at + seconds))
        if found is not None and found.unnoted:
            self._note(found.id)
        return principal

    def _remember(self, digest: bytes, found: _Remembered) -> None:
        kept, other = (self._bad, self._good) if found.principal is None else (self._good, self._bad)
        other.pop(digest, None)
        kept.pop(digest, None)
        kept[digest] = found
        while len(kept) > REMEMBERED_MOST:
            kept.popitem(last=False)

    async def _look(self, digest: bytes) -> None:
        """Look at a key for as long as a call of it stays open. While Postgres is away nothing is given out anyway."""
        while self._watched[digest]:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._find(digest)
            except Unauthenticated:
                for end in list(self._watched[digest].values()):
                    end()
                break
            except (DatabaseUnavailable, Overloaded):
                continue
            except Exception:  # whatever it is, the next look may tell
                log_.exception("key_look_failed")
        del self._watched[digest]

    def _note(self, key_id: UUID) -> None:
        """Have the use of the key noted, some at a time: nobody waits for that, and what is lost is noted next time."""
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
