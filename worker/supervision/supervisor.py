"""The supervisor: starts the worker processes, restarts dead ones, reports on them, and ends with them."""

import functools
import json
import os
import time
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead
from sqlalchemy import Engine

from domain import log
from domain.configuration.settings import Settings
from domain.postgres import engines, schema_version
from domain.processes import metrics_folder, parent_watch
from domain.processes.children import Child, Children, launch
from domain.processes.probes import Probe
from domain.processes.stop_signals import StopSignals
from worker.supervision import probes
from worker.supervision.probes import PATIENCE_SECONDS
from worker.supervision.status_server import Port, Processes, Report

POLL_SECONDS = 0.1
WAIT_SECONDS = 8.0  # with the time-out of a last attempt, a start without Postgres ends within 10 s
STOP_SECONDS = 8.0
FOLDER_PREFIX = "botfarm-worker-"

log_ = log.get(__name__)


class SchemaOutdated(Exception):  # noqa: N818  -- named for what is wrong
    """The database lacks migrations that this code needs."""


def run(settings: Settings, *, ready_file: Path | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code.

    Raises OSError when it cannot listen on the port, SchemaOutdated, and DBAPIError when Postgres stays unavailable.
    """
    engine = probe_engine(settings)
    require_schema(engine)
    with metrics_folder.folder(prefix=FOLDER_PREFIX) as counters:
        return Supervisor(settings, engine, counters=counters, ready_file=ready_file).run()


class Supervisor:
    """Keeps the processes running. `counters` is the folder to which they write their metrics."""

    def __init__(self, settings: Settings, engine: Engine, *, counters: str, ready_file: Path | None) -> None:
        self._ready_file = ready_file
        self._postgres = Probe("postgres", probes.postgres(engine))
        self._redis = Probe("redis", probes.broker(settings.redis_url))
        report = Report(processes=self._processes, postgres=self._postgres, redis=self._redis)
        self._port = Port(settings.worker_host, settings.worker_port, report=report, counters=counters)
        # Held for life: when this process ends, however it ends, the pipe closes and the children end.
        reading, self._lifeline = parent_watch.make()
        worker = functools.partial(launch, "worker.supervision.child", reading, counters=counters)
        children = [Child(program="worker", launch=worker) for _ in range(settings.worker_processes)]
        self._children = Children(children, counters=counters, bury=mark_process_dead)

    def run(self) -> int:
        signals = StopSignals()
        self._postgres.start()
        self._redis.start()
        self._port.start()
        log_.info("worker_listening", url=self._port.url, port=self._port.number, pid=os.getpid())
        while not signals.stopping:
            if self._children.tend():
                self._report_pids()
            time.sleep(POLL_SECONDS)
        self._stop()
        return 0

    def _stop(self) -> None:
        log_.info("worker_stopping")
        self._children.stop(seconds=STOP_SECONDS)
        self._port.close()
        log_.info("worker_stopped")

    def _processes(self) -> Processes:
        return Processes(len(self._children.all), self._children.pids, self._children.restarts)

    def _report_pids(self) -> None:
        """Log the pids and write the ready file, whole or not at all."""
        log_.info("worker_processes", pids=self._children.pids)
        if self._ready_file is not None:
            new = self._ready_file.with_name(self._ready_file.name + ".new")
            new.write_text(json.dumps({"url": self._port.url, "pids": self._children.pids}), encoding="utf-8")
            new.replace(self._ready_file)


def probe_engine(settings: Settings) -> Engine:
    return engines.engine(
        settings.database_url, pool_size=1, patience_seconds=PATIENCE_SECONDS, name="botfarm-worker-probe"
    )


def require_schema(engine: Engine) -> None:
    """Wait up to 10 s for Postgres. Raises SchemaOutdated, or the last DBAPIError."""

    def is_current() -> bool:
        with engine.connect() as conn:
            return schema_version.is_current(conn)

    if not engines.retrying(is_current, seconds=WAIT_SECONDS):
        raise SchemaOutdated
