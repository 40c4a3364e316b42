"""What the measurements of the relay share: a worker process of its own, and writers at full rate."""

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from sqlalchemy import Engine, text

from benchmarks.failures import Unmeasured
from domain import locks, requests
from domain.events import epochs
from domain.locks import Release
from domain.requests import Ask, Granted

TTL = timedelta(minutes=10)
ASKS = 10
START_SECONDS = 60.0
WARM_UP_SECONDS = 15.0
SMALL = 500


@contextlib.contextmanager
def working(database_url: str, redis_url: str) -> Iterator[None]:
    """A worker on that database and that Redis until the end of the block."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BOTFARM_")},
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "BOTFARM_REDIS_PREFIX": f"bench-{uuid.uuid4().hex[:8]}:",
        "BOTFARM_WORKER_PORT": "0",
        "BOTFARM_LOG_LEVEL": "ERROR",
    }
    # It complains of what is done to it.
    worker = subprocess.Popen([sys.executable, "-m", "worker"], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        worker.terminate()
        worker.wait()


@dataclass
class Pools:
    """Threads that take users by pool acquire, a few at a time, and give them back, as fast as they can."""

    engine: Engine
    threads: int = 2
    cycles: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._running = [threading.Thread(target=self._run) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._running:
            thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            asks = [Ask(uuid.uuid4(), "bench", "bench", TTL, env="stage") for _ in range(ASKS)]
            with self.engine.begin() as conn:
                grants = [g for o in requests.take(conn, asks) if isinstance(o, Granted) for g in o.grants]
            with self.engine.begin() as conn:
                locks.release(conn, [Release(grant.user.id, "bench", grant.lease_id) for grant in grants])
            with self._counting:
                self.cycles += len(grants)


@dataclass(frozen=True)
class Rates:
    """Per second: lock cycles (an acquire and a release), events numbered, and events put on the stream."""

    cycles: float
    sequenced: float
    published: float

    def __str__(self) -> str:
        return f"{self.cycles:,.0f} cycles/s, {self.sequenced:,.0f} numbered/s, {self.published:,.0f} published/s"


def measure(engine: Engine, pools: Pools, *, seconds: float) -> Rates:
    cycles, before, began = pools.cycles, state(engine), time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    after = state(engine)
    return Rates(
        (pools.cycles - cycles) / passed,
        (after.last_seq - before.last_seq) / passed,
        (after.published_seq - before.published_seq) / passed,
    )


def state(engine: Engine) -> epochs.State:
    with engine.begin() as conn:
        return epochs.read(conn)


def warm_up(engine: Engine, *, publishing: bool) -> None:
    """Wait until the worker has numbered, and put on the stream, what came about while it started; not for ever.

    Raises Unmeasured when it has not begun after a minute.
    """
    deadline = time.monotonic() + START_SECONDS
    while not state(engine).last_seq:
        if time.monotonic() > deadline:
            raise Unmeasured(f"the worker numbered nothing within {START_SECONDS:.0f} s")
        time.sleep(0.1)
    deadline = time.monotonic() + WARM_UP_SECONDS
    while time.monotonic() < deadline:
        now = state(engine)
        behind = pending(engine) + (now.last_seq - now.published_seq if publishing else 0)
        if behind < SMALL:
            return
        time.sleep(0.1)


def pending(engine: Engine) -> int:
    """Changes that have no number yet."""
    with engine.begin() as conn:
        return int(conn.execute(text("SELECT count(*) FROM outbox")).scalar_one())
