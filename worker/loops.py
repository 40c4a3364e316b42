"""Loops: threads that repeat a duty, survive its failures, and write a heartbeat while they work."""

import math
import threading
import time
from collections.abc import Callable, Sequence

import dramatiq
from dramatiq.middleware import Middleware
from redis.exceptions import RedisError

from domain import log
from domain.postgres import engines
from domain.processes.backoff import Backoff
from worker import metrics
from worker.duties import Duties
from worker.relay.pacing import Pace
from worker.relay.relay import BATCH, MANY

POLL_SECONDS = 0.05
GATHER_SECONDS = 0.02  # a turn costs nearly the same for one event as for a hundred: under load they are moved together
# Turns that move many events occur from about 2,500 changes a second. At that rate the processor is the bottleneck, and
# half the number of turns is worth a wait no longer than that of the first change after an idle time.
GATHER_MANY_SECONDS = POLL_SECONDS
SWEEP_SECONDS = 0.25
LINE_SECONDS = 1.0
RETENTION_SECONDS = 60.0
RESEAL_SECONDS = 0.1
BEAT_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
STOP_SECONDS = 3.0

log_ = log.get(__name__)


class Loop:
    """Calls `work`, which returns the seconds until the next call; a kick makes that call at once.

    A failure is logged and followed by a pause that doubles from 0.1 s to 2 s. `beat` is called once a second by the
    same thread, and never while the last turn has failed, so a heartbeat proves that the work succeeds.
    """

    def __init__(self, name: str, *, work: Callable[[], float], beat: Callable[[str], None]) -> None:
        self.name = name
        self._work = work
        self._beat = beat
        self._due = 0.0
        self._beat_due = 0.0
        self._backoff = Backoff(first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"loop-{name}", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def kick(self) -> None:
        """Call the work now. A lost kick only delays it."""
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
                self._backoff.reset()
            self._wake.wait(pause)
            self._wake.clear()

    def _turn(self) -> float:
        """Work and beat if due; returns the seconds until the next of them is due."""
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
        return self._backoff.failed()


class Loops(Middleware):
    """Runs the loops while a dramatiq worker runs."""

    def __init__(self, loops: Sequence[Loop]) -> None:
        self._loops = loops

    @property
    def alive(self) -> bool:
        """Whether all threads run; the process ends when one does not, because nothing else would notice."""
        return all(loop.alive for loop in self._loops)

    def after_worker_boot(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        self.start()

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        self.stop()

    def start(self) -> None:
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Stop all loops within 3 s; a loop that hangs longer ends with the process."""
        for loop in self._loops:
            loop.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for loop in self._loops:
            loop.join(seconds=max(0.0, deadline - time.monotonic()))


def loops_of(
    duties: Duties, *, scheduling: Callable[[], bool] | None = None, resealing: Callable[[], bool] | None = None
) -> Loops:
    """The loops over all duties. Sequencing and publishing are separate, so that Redis never delays the numbering.

    `scheduling`, when given, schedules webhook deliveries; `resealing` reseals rows of older keys.
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
    """Publish, and rest after a full batch; the kicks of the sequencing loop do not shorten that rest."""

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
    """Work that is repeated every `seconds`, and at once while it returns True."""
    return lambda: 0.0 if work() else seconds


def _after(moved: int) -> float:
    """Seconds until the next turn: none after a full batch, which left more; else a wait that gathers events."""
    if moved >= BATCH:
        return 0.0
    if moved >= MANY:
        return GATHER_MANY_SECONDS
    return GATHER_SECONDS if moved else POLL_SECONDS
