"""The dispatcher: a thread of each API process that runs passes over the waiting line and answers the callers here.

It runs when something here may have freed a user or joined the line, when another process hints at it, when the next
user becomes available by itself, and by the clock anyway: the poll repairs whatever a lost hint left undone.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.execution.waiting_calls import Stop, WaitingCall
from domain import log, requests
from domain.postgres import engines
from domain.requests import Ask, Granted, Handover
from domain.requests.records import Key

HINTED_POLL_SECONDS = 0.25
BLIND_POLL_SECONDS = 0.05
BEAT_SECONDS = 1.0
PASSES_MOST = 50
WIDE_SECONDS = 5.0  # after many free users were found, they are not counted again for this long
FAILED_PAUSE_SECONDS = 0.2

log_ = log.get(__name__)


@dataclass(eq=False)
class Dispatcher:
    """Serves the waiting line. `unclaimed` gets the grants whose callers are gone.

    `tell` hints at another home, `hinted` says whether hints arrive, `handed_over` is called with all grants of a pass.
    Once `stopping` is set calls wait no longer: they are answered with their places, which they may claim elsewhere.
    """

    engine: Engine
    unclaimed: Callable[[Key, Granted], None]
    home: UUID = field(default_factory=uuid.uuid4)
    tell: Callable[[UUID], None] = lambda _home: None
    hinted: Callable[[], bool] = lambda: False
    handed_over: Callable[[Sequence[Granted]], None] = lambda _granted: None
    stopping: threading.Event = field(default_factory=threading.Event)
    _calls: dict[Key, list[WaitingCall]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _woken: threading.Event = field(default_factory=threading.Event)
    _closing: threading.Event = field(default_factory=threading.Event)
    _granted: threading.Event = field(default_factory=threading.Event)
    _busy: bool = False
    _wide_until: float = float("-inf")
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._tend_once()  # a home that is not known to be alive is granted nothing
        jobs = {"dispatcher": self._run, "line-fetcher": self._fetch_all, "line-tender": self._tend}
        self._threads = [threading.Thread(target=job, name=name, daemon=True) for name, job in jobs.items()]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._closing.set()
        self._woken.set()
        self._granted.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def wake(self) -> None:
        """Run a pass soon."""
        self._woken.set()

    def fetch(self) -> None:
        """Another process has granted something to a caller here."""
        self._granted.set()

    def expect(self) -> None:
        """A request of some process has joined the line: a freed user is worth a pass from now on."""
        self._busy = True

    def freed(self) -> None:
        """A user may have become free: run a pass if a call is known to wait."""
        if self._busy or self._calls:
            self._woken.set()

    def attend(self, ask: Ask) -> WaitingCall:
        """Register an open call, before its request joins the line: the grant may come at once."""
        call = WaitingCall(ask)
        with self._guard:
            self._calls.setdefault(call.key, []).append(call)
        return call

    def depart(self, call: WaitingCall, why: Stop) -> bool:
        """The call stops waiting.

        Returns whether it was the last one here for its request, so that its row must be updated.
        """
        with self._guard:
            call.stop(why)
            return not self._waited_for(call.key)

    def cancelled(self, key: Key) -> None:
        """The request was taken out: its calls here need not wait any longer, and what was kept for it is free."""
        self._rouse([key])
        self.wake()

    def forget(self, call: WaitingCall) -> None:
        """The call has its answer."""
        with self._guard:
            call.end()
            remaining = [other for other in self._calls.get(call.key, ()) if other is not call]
            if remaining:
                self._calls[call.key] = remaining
            else:
                self._calls.pop(call.key, None)

    def _waited_for(self, key: Key) -> bool:
        return any(not call.stopped for call in self._calls.get(key, ()))

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                pause = self._round()
            except Exception as error:  # noqa: BLE001  -- no failure ends the passes: calls would wait for nothing
                _note_failure("dispatch_failed", error)
                pause = FAILED_PAUSE_SECONDS
            self._woken.wait(pause)
            self._woken.clear()
        self._leave()

    def _round(self) -> float:
        """Everything there is to do now; how long to sleep unless woken, in seconds."""
        poll = self._poll_seconds()
        if self._calls or self._look():
            coming = self._pass()
            return poll if coming is None else min(poll, coming)
        return poll

    def _look(self) -> bool:
        with self.engine.begin() as conn:
            self._busy = requests.busy(conn)
        return self._busy

    def _poll_seconds(self) -> float:
        return HINTED_POLL_SECONDS if self.hinted() or not self._calls else BLIND_POLL_SECONDS

    def _fetch_all(self) -> None:
        """Fetch on a thread of its own: a pass waits for those of other processes, and a grant should not."""
        while not self._closing.is_set():
            self._granted.wait(self._poll_seconds())
            self._granted.clear()
            if not self._calls:
                continue
            try:
                self._fetch()
            except Exception as error:  # noqa: BLE001  -- no failure ends the fetching
                _note_failure("fetch_failed", error)
                self._closing.wait(FAILED_PAUSE_SECONDS)

    def _fetch(self) -> None:
        """Take what passes of other processes have granted to callers here."""
        with self.engine.begin() as conn:
            handovers = requests.confirm(conn, home=self.home)
        self._answer(handovers)

    def _pass(self) -> float | None:
        """Hand out until there is nothing left to hand out; seconds until there will be more by itself."""
        for _ in range(PASSES_MOST):
            with self.engine.begin() as conn:
                done = requests.dispatch(conn, home=self.home, wide=time.monotonic() < self._wide_until)
            self._busy = done.busy
            if done.wide and time.monotonic() > self._wide_until:
                self._wide_until = time.monotonic() + WIDE_SECONDS
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
            if self.stopping.is_set():
                with self._guard:
                    keys = list(self._calls)
                self._rouse(keys)
            self._tend_once()

    def _tend_once(self) -> None:
        try:
            with self.engine.begin() as conn:
                requests.beat(conn, home=self.home)
            self._come_back()
            self._catch_up()
            with self.engine.begin() as conn:
                requests.sweep(conn)
        except Exception as error:  # noqa: BLE001  -- whoever does not beat is taken for dead
            _note_failure("tending_failed", error)

    def _come_back(self) -> None:
        """Attend what was taken for left: by a sweep while this process hung, or by a call that went as one came."""
        with self._guard:
            open_calls = [key for key in self._calls if self._waited_for(key)]
        if not open_calls:
            return
        with self.engine.begin() as conn:
            back = requests.come_back(conn, open_calls, home=self.home)
        with self._guard:
            left = [key for key in back if not self._waited_for(key)]  # meanwhile
        with self.engine.begin() as conn:
            requests.step_away(conn, left, home=self.home)
        if back:
            self.wake()

    def _catch_up(self) -> None:
        """Rouse the calls whose requests left the line elsewhere: cancelled, or granted to a call at another home."""
        with self._guard:
            joined = [key for key, calls in self._calls.items() if any(call.in_line for call in calls)]
        if joined:
            with self.engine.begin() as conn:
                settled = requests.settled(conn, joined)
            self._rouse(settled)

    def _rouse(self, keys: Sequence[Key]) -> None:
        with self._guard:
            calls = [call for key in keys for call in self._calls.get(key, ()) if call.in_line]
        for call in calls:
            with contextlib.suppress(RuntimeError):  # that loop has ended
                call.resolve(None)

    def _answer(self, handovers: Sequence[Handover]) -> None:
        """Only after the commit. A grant that no call here waits for any more is given back."""
        for handover in handovers:
            with self._guard:
                calls = self._calls.get(handover.key, [])
            if not calls:
                self.unclaimed(handover.key, handover.granted)
            for call in calls:
                call.shared = len(calls) > 1
                try:
                    call.resolve(handover.granted)
                except RuntimeError:  # that loop has ended
                    self.unclaimed(handover.key, handover.granted)

    def _leave(self) -> None:
        try:
            with self.engine.begin() as conn:
                requests.leave(conn, home=self.home)
        except SQLAlchemyError:
            log_.warning("leave_failed")


def _note_failure(event: str, error: Exception) -> None:
    expected = engines.unavailable(error)
    log_.warning(event, error=type(error).__name__, unavailable=expected, exc_info=not expected)
