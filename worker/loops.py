"""Loops: threads that do a duty again and again, survive its failures, and tell when they are at work."""

import math
import threading
import time
from collections.abc import Callable, Sequence

import dramatiq
from dramatiq.middleware import Middleware
from redis.exceptions import RedisError

from domain import log
from domain.postgres import engines
from worker import metrics
from worker.duties import Duties
from worker.relay.pacing import Pace
from worker.relay.relay import BATCH, MANY

POLL_SECONDS = 0.05
GATHER_SECONDS = 0.02  # a turn costs nearly the same for one event as for a hundred: under load they go together
# Turns that move many come at some 2,500 changes a second. There the processor is what everybody waits for, and half as
# many turns are worth a wait that is no longer than that of the first change after a rest.
GATHER_MANY_SECONDS = POLL_SECONDS
SWEEP_SECONDS = 0.25
LINE_SECONDS = 1.0
RETENTION_SECONDS = 60.0
RESEAL_SECONDS = 0.1
BEAT_SECONDS = 1.0
BACKOFF_SECONDS = (0.1, 2.0)
STOP_SECONDS = 3.0

log_ = log.get(__name__)


class Loop:
    """Does `work`, which returns the seconds after which to do it again, unless it is kicked before.

    A failure is logged and followed by a pause that doubles from 0.1 s to 2 s. `beat` is called once a second, by this
    very thread and never while the last turn has failed: a heartbeat says that the work goes on.
    """

    def __init__(self, name: str, *, work: Callable[[], float], beat: Callable[[str], None]) -> None:
        self.name = name
        self._work = work
        self._beat = beat
        self._due = 0.0
        self._beat_due = 0.0
        self._failures = 0
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"loop-{name}", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def kick(self) -> None:
        """Have the work done now. A kick that gets lost only delays it."""
        self._due = 0.0
        self._wake.set()

    def stop(self) -> None:
        """Ask it to end; `join` waits for that."""
        self._stopping = True
        self._wake.set()

    def join(self, *, seconds: float) -> None:
        self._thread.join(seconds)
        if self.alive:
            log_.warning("loop_left_running", loop=self.name)

    def _run(self) -> None:
        while not self._stopping:
            try:
                pause = self._turn()
            except Exception as error:  # noqa: BLE001  -- no failure ends a loop
                pause = self._failed(error)
            else:
                self._failures = 0
            self._wake.wait(pause)
            self._wake.clear()

    def _turn(self) -> float:
        """Work when it is time to; the seconds until there is something to do again."""
        if time.monotonic() >= self._due:
            self._due, pause = math.inf, 0.0  # a kick meanwhile sets it to now
            try:
                pause = self._work()
            finally:
                self._due = min(self._due, time.monotonic() + pause)
        if time.monotonic() >= self._beat_due:
            self._beat(self.name)
            self._beat_due = time.monotonic() + BEAT_SECONDS
        return max(0.0, min(self._due, self._beat_due) - time.monotonic())

    def _failed(self, error: Exception) -> float:
        expected = engines.unavailable(error) or isinstance(error, RedisError)
        text = str(error).strip().split("\n")[0]
        log_.warning("loop_failed", loop=self.name, error=type(error).__name__, text=text, exc_info=not expected)
        metrics.LOOP_FAILURES.labels(self.name).inc()
        first, longest = BACKOFF_SECONDS
        pause = min(longest, first * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return pause


class Loops(Middleware):
    """Runs the loops while a dramatiq worker runs."""

    def __init__(self, loops: Sequence[Loop]) -> None:
        self._loops = loops

    @property
    def alive(self) -> bool:
        """Whether all of them run: a thread that ended by other means than ours would go unnoticed."""
        return all(loop.alive for loop in self._loops)

    def after_worker_boot(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        self.start()

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        self.stop()

    def start(self) -> None:
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Returns after 3 s at the latest; a loop that still hangs then ends with the process."""
        for loop in self._loops:
            loop.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for loop in self._loops:
            loop.join(seconds=max(0.0, deadline - time.monotonic()))


def loops_of(
    duties: Duties, *, scheduling: Callable[[], bool] | None = None, resealing: Callable[[], bool] | None = None
) -> Loops:
    """The loops over all duties. Sequencing and publishing are two, so that Redis never keeps the numbers waiting.

    `scheduling`, when given, is that of webhooks, `resealing` that of what older keys have sealed.
    """

    def sequence() -> float:
        moved = duties.sequence()
        if moved:
            publishing.kick()
            for loop in webhooks:
                loop.kick()
        return _after(moved)

    def loop(name: str, work: Callable[[], float]) -> Loop:
        return Loop(name, work=work, beat=duties.beat)

    publishing = loop("publishing", _publishing(duties, Pace()))
    webhooks = [loop("webhooks", every(POLL_SECONDS, scheduling))] if scheduling else []
    reseal = [loop("resealing", every(RESEAL_SECONDS, resealing))] if resealing else []
    return Loops(
        [
            loop("sequencing", sequence),
            publishing,
            loop("expiry", every(SWEEP_SECONDS, duties.expire)),
            loop("line", every(LINE_SECONDS, duties.sweep_line)),
            loop("retention", every(RETENTION_SECONDS, duties.retain)),
            *webhooks,
            *reseal,
        ]
    )


def _publishing(duties: Duties, pace: Pace) -> Callable[[], float]:
    """Publish, and rest after a full batch, which the kicks that come with every number given do not cut short."""

    def work() -> float:
        if pace.rest:
            return pace.rest
        began = time.monotonic()
        try:
            moved = duties.publish()
        finally:
            pace.note(numbered=duties.relay.numbered)
        if moved >= BATCH:
            pace.filled(events=moved, took=time.monotonic() - began, waiting=duties.relay.waiting)
            return pace.rest
        return _after(moved)

    return work


def every(seconds: float, work: Callable[[], bool]) -> Callable[[], float]:
    """Work that is done every so often, and again at once while it returns True."""
    return lambda: 0.0 if work() else seconds


def _after(moved: int) -> float:
    """When to move events again. A full batch was not all; for what comes after any other it is worth waiting."""
    if moved >= BATCH:
        return 0.0
    if moved >= MANY:
        return GATHER_MANY_SECONDS
    return GATHER_SECONDS if moved else POLL_SECONDS
