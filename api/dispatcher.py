"""The dispatcher: one thread an API process that runs passes over the waiting line and answers the callers here.

It runs when something here may have freed a user or joined the line, when another process hints at it, when the next
user becomes available by itself, and by the clock anyway: the poll repairs whatever a lost hint left undone.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from domain import db, log, requests
from domain.requests import Granted, Handover
from domain.requests.asking import Key

HINTED_POLL_SECONDS = 0.25
BLIND_POLL_SECONDS = 0.05
BEAT_SECONDS = 1.0
PASSES_MOST = 50
FAILED_PAUSE_SECONDS = 0.2

log_ = log.get(__name__)


@dataclass(eq=False, slots=True)
class Waiter:
    """An open call; its future gets what its request was granted."""

    loop: asyncio.AbstractEventLoop
    granted: asyncio.Future[Granted]


@dataclass(eq=False)
class Dispatcher:
    """Serves the waiting line. `unclaimed` gets the keys of grants whose callers are gone.

    `tell` hints at another home, `hinted` says whether hints arrive, `handed_over` is told all grants of a pass.
    """

    engine: Engine
    unclaimed: Callable[[Key], None]
    home: UUID = field(default_factory=uuid.uuid4)
    tell: Callable[[UUID], None] = lambda _home: None
    hinted: Callable[[], bool] = lambda: False
    handed_over: Callable[[Sequence[Granted]], None] = lambda _granted: None
    _waiters: dict[Key, list[Waiter]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _woken: threading.Event = field(default_factory=threading.Event)
    _closing: threading.Event = field(default_factory=threading.Event)
    _busy: bool = False
    _fetching: bool = False
    _fetched_at: float = float("-inf")
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._tend_once()  # who is not known to be alive is granted nothing
        jobs = {"dispatcher": self._run, "line-tender": self._tend}
        self._threads = [threading.Thread(target=job, name=name, daemon=True) for name, job in jobs.items()]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._closing.set()
        self._woken.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def wake(self) -> None:
        """Run a pass soon."""
        self._woken.set()

    def fetch(self) -> None:
        """Another process has granted something to a caller here."""
        self._fetching = True
        self._woken.set()

    def expect(self) -> None:
        """Somebody somewhere has joined the line: what is freed here is worth a pass from now on."""
        self._busy = True

    def freed(self) -> None:
        """A user may have become free: run a pass if anybody is known to wait."""
        if self._busy or self._waiters:
            self._woken.set()

    def attend(self, key: Key) -> Waiter:
        """Register an open call, before its request joins the line: the grant may come at once."""
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop, loop.create_future())
        with self._guard:
            self._waiters.setdefault(key, []).append(waiter)
        return waiter

    def depart(self, key: Key, waiter: Waiter) -> bool:
        """Forget a call; whether it was the last one here for its request."""
        with self._guard:
            remaining = [other for other in self._waiters.get(key, ()) if other is not waiter]
            if remaining:
                self._waiters[key] = remaining
            else:
                self._waiters.pop(key, None)
        return not remaining

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                pause = self._round()
            except SQLAlchemyError as error:
                log_.warning("dispatch_failed", error=type(error).__name__, unavailable=db.unavailable(error))
                pause = FAILED_PAUSE_SECONDS
            self._woken.wait(pause)
            self._woken.clear()
        self._leave()

    def _round(self) -> float:
        """Everything there is to do now; how long to sleep unless woken, in seconds."""
        poll = HINTED_POLL_SECONDS if self.hinted() or not self._waiters else BLIND_POLL_SECONDS
        if self._waiters and (self._fetching or time.monotonic() > self._fetched_at + poll):
            self._fetch()
        if self._waiters or self._look():
            coming = self._pass()
            return poll if coming is None else min(poll, coming)
        return poll

    def _look(self) -> bool:
        with self.engine.begin() as conn:
            self._busy = requests.busy(conn)
        return self._busy

    def _fetch(self) -> None:
        """Take what passes of other processes have granted to callers here."""
        self._fetching = False
        with self.engine.begin() as conn:
            handovers = requests.confirm(conn, home=self.home)
        self._fetched_at = time.monotonic()
        self._answer(handovers)

    def _pass(self) -> float | None:
        """Hand out until there is nothing left to hand out; seconds until there will be more by itself."""
        for _ in range(PASSES_MOST):
            with self.engine.begin() as conn:
                done = requests.dispatch(conn, home=self.home)
            self._busy = done.busy
            self._answer([handover for handover in done.handovers if handover.home == self.home])
            for home in {handover.home for handover in done.handovers if handover.home} - {self.home}:
                self.tell(home)
            self.handed_over([handover.granted for handover in done.handovers])
            if not done.again:
                break
        return done.next_seconds

    def _tend(self) -> None:
        """Beat and sweep beside the passes: neither may be late because of the other."""
        while not self._closing.wait(BEAT_SECONDS):
            self._tend_once()

    def _tend_once(self) -> None:
        try:
            with self.engine.begin() as conn:
                requests.beat(conn, home=self.home)
            with self.engine.begin() as conn:
                requests.sweep(conn)
        except SQLAlchemyError as error:
            log_.warning("tending_failed", error=type(error).__name__, unavailable=db.unavailable(error))

    def _answer(self, handovers: Sequence[Handover]) -> None:
        """Only after the commit. A grant that no call here waits for any more is given back."""
        for handover in handovers:
            with self._guard:
                waiters = self._waiters.get(handover.key, [])
            if not waiters:
                self.unclaimed(handover.key)
            for waiter in waiters:
                try:
                    waiter.loop.call_soon_threadsafe(_resolve, waiter, handover.granted)
                except RuntimeError:  # that loop has ended
                    self.unclaimed(handover.key)

    def _leave(self) -> None:
        try:
            with self.engine.begin() as conn:
                requests.leave(conn, home=self.home)
        except SQLAlchemyError:
            log_.warning("leave_failed")


def _resolve(waiter: Waiter, granted: Granted) -> None:
    if not waiter.granted.done():
        waiter.granted.set_result(granted)
