"""The supervisor: starts the worker processes, starts dead ones again, reports on them, and ends with them."""

import functools
import json
import os
import tempfile
import time
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead
from sqlalchemy import Engine

from domain import log
from domain.configuration.settings import Settings
from domain.postgres import engines, schema_version
from domain.processes import parent_watch
from domain.processes.children import Child, launch
from domain.processes.probes import Probe
from worker.supervision import probes
from worker.supervision.child import Signals
from worker.supervision.probes import PATIENCE_SECONDS
from worker.supervision.status_server import Port, Processes, Report

LOOK_SECONDS = 0.1
WAIT_SECONDS = 8.0  # with one last attempt of its own patience, a start without Postgres ends within 10 s
STOP_SECONDS = 8.0

log_ = log.get(__name__)


class SchemaOutdated(Exception):  # noqa: N818  -- named for what is wrong
    """The database lacks migrations that this code needs."""


def run(settings: Settings, *, ready_file: Path | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code.

    Raises OSError when the port cannot be had, SchemaOutdated, and DBAPIError when Postgres stays away at the start.
    """
    engine = probe_engine(settings)
    require_schema(engine)
    with tempfile.TemporaryDirectory(prefix="botfarm-worker-", ignore_cleanup_errors=True) as counters:
        return Supervisor(settings, engine, counters=counters, ready_file=ready_file).run()


class Supervisor:
    """Watches over the processes. `counters` is a folder in which they leave what they have counted."""

    def __init__(self, settings: Settings, engine: Engine, *, counters: str, ready_file: Path | None) -> None:
        self._counters = counters
        self._ready_file = ready_file
        self._postgres = Probe("postgres", probes.postgres(engine))
        self._redis = Probe("redis", probes.broker(settings.redis_url))
        report = Report(processes=self._processes, postgres=self._postgres, redis=self._redis)
        self._port = Port(settings.worker_host, settings.worker_port, report=report, counters=counters)
        # Held for life: when it closes, however this process ends, the children end.
        reading, self._lifeline = parent_watch.make()
        worker = functools.partial(launch, "worker.supervision.child", reading, counters=counters)
        self._children = [Child(program="worker", launch=worker) for _ in range(settings.worker_processes)]
        self._starts = 0

    def run(self) -> int:
        signals = Signals()
        self._postgres.start()
        self._redis.start()
        self._port.start()
        log_.info("worker_listening", url=self._port.url, port=self._port.number, pid=os.getpid())
        while not signals.stopping:
            if self._tend():
                self._tell()
            time.sleep(LOOK_SECONDS)
        self._stop()
        return 0

    def _tend(self) -> bool:
        """Look after every child; whether one was started."""
        started = [child.tend(died=self._bury) for child in self._children]
        self._starts += sum(started)
        return any(started)

    def _bury(self, pid: int) -> None:
        mark_process_dead(pid, self._counters)  # type: ignore[no-untyped-call]
        Path(self._counters).mkdir(mode=0o700, exist_ok=True)  # cleaners of /tmp take what is old, and none could start

    def _stop(self) -> None:
        log_.info("worker_stopping")
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children:
            child.ask_to_stop()
        for child in self._children:
            child.stop(seconds=max(0.0, deadline - time.monotonic()))
        self._port.close()
        log_.info("worker_stopped")

    def _processes(self) -> Processes:
        restarts = max(0, self._starts - len(self._children))
        return Processes(len(self._children), self._pids(), restarts)

    def _pids(self) -> tuple[int, ...]:
        return tuple(pid for child in self._children if (pid := child.pid) is not None)

    def _tell(self) -> None:
        """Write the ready file, whole or not at all."""
        log_.info("worker_processes", pids=self._pids())
        if self._ready_file is not None:
            new = self._ready_file.with_name(self._ready_file.name + ".new")
            new.write_text(json.dumps({"url": self._port.url, "pids": self._pids()}), encoding="utf-8")
            new.replace(self._ready_file)


def probe_engine(settings: Settings) -> Engine:
    return engines.engine(
        settings.database_url, pool_size=1, patience_seconds=PATIENCE_SECONDS, name="botfarm-worker-probe"
    )


def require_schema(engine: Engine) -> None:
    """Wait up to 10 s for Postgres. Raises SchemaOutdated, or the last DBAPIError."""

    def look() -> bool:
        with engine.connect() as conn:
            return schema_version.is_current(conn)

    if not engines.retrying(look, seconds=WAIT_SECONDS):
        raise SchemaOutdated
