"""A farm of real processes: two of the API and a worker, on one database and one server that speaks Redis."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import Engine, text

from domain.configuration.settings import Settings
from standalone.servers.valkey import Valkey
from tests import patience
from tests.api.servers import SOURCES, START_SECONDS, ApiProcess, environment
from tests.line.judgements import Change, Request
from tests.patience import eventually

STOP_SECONDS = 15.0
CHANGES = text("""
SELECT user_id, lock_version, type, lease_id, data ->> 'reason' AS reason,
    extract(epoch FROM occurred_at)::float8 AS at
FROM (
    SELECT user_id, lock_version, type, lease_id, data, occurred_at FROM events UNION ALL
    SELECT user_id, lock_version, type, lease_id, data, occurred_at FROM outbox
) told WHERE user_id = ANY (CAST(:user_ids AS uuid[]))
""")
REQUESTS = text("""
SELECT request_id, selector, priority, extract(epoch FROM created_at)::float8 AS created_at,
    extract(epoch FROM granted_at)::float8 AS granted_at
FROM lock_requests
""")
PLACES = text("SELECT request_id, id FROM lock_requests WHERE granted_at IS NULL ORDER BY id")
ATTENDED = text("SELECT count(*) FROM lock_requests WHERE granted_at IS NULL AND home IS NOT NULL")
CONNECTIONS = text("""
SELECT CASE WHEN state = 'idle in transaction' AND state_change > clock_timestamp() - interval '0.5 s'
    THEN 'active' ELSE state END AS state, count(*) AS connections
FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'botfarm-api' GROUP BY 1
""")
HELD = text("SELECT count(*) FROM users WHERE status = 'active' AND lock_expires_at > clock_timestamp()")
CLEAR = text("DELETE FROM lock_requests; UPDATE users SET status = 'quarantined'")


class WorkerProcess:
    """`python -m worker` with its children; what they say goes to `log`."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._ready = log.with_suffix(".ready")
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "worker", "--ready-file", str(self._ready)],
                cwd=SOURCES,
                env=environment(settings) | {"BOTFARM_WORKER_PORT": "0", "TMPDIR": str(log.parent)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def ready(self) -> bool:
        return self._ready.exists()

    def end(self) -> None:
        """Its children end with it: they hold its lifeline."""
        self.popen.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_SECONDS)
        self.popen.kill()
        self.popen.wait()


@dataclass
class Farm:
    """`engine` goes straight to the database, for what HTTP does not show."""

    apis: Sequence[ApiProcess]
    worker: WorkerProcess
    valkey: Valkey
    engine: Engine
    user_ids: list[str] = field(default_factory=list)

    @property
    def urls(self) -> list[str]:
        return [api.url for api in self.apis]

    def start(self) -> None:
        if not self.valkey.alive:
            self.valkey.start()
        for api in self.apis:
            if not api.alive():
                api.launch()
        assert eventually(lambda: all(api.ready() for api in self.apis) and self.worker.ready(), seconds=START_SECONDS)

    def clear(self) -> None:
        """As new, for the next test: what it sees are its own users only."""
        self.user_ids.clear()
        with self.engine.begin() as conn:
            conn.execute(CLEAR)

    def end(self) -> None:
        self.worker.end()
        for api in self.apis:
            if api.alive():
                os.kill(api.running.pid, signal.SIGCONT)
            api.kill()
        self.valkey.kill()
        self.engine.dispose()

    def new_users(self, count: int) -> list[str]:
        rows = [{"login": f"bot-{uuid.uuid4().hex}"} for _ in range(count)]
        answer = self.post("users/batch", rows)
        self.user_ids += [result["user"]["id"] for result in answer.json()["results"]]
        return self.user_ids

    def post(self, path: str, body: Any = None, *, at: int = 0) -> httpx.Response:
        """A call to one of the API processes."""
        return httpx.post(f"{self.urls[at]}/api/v1/{path}", json=body, timeout=patience.limit(70))

    def changes(self) -> list[Change]:
        with self.engine.begin() as conn:
            return [
                Change(str(row.user_id), row.lock_version, row.type, _name(row.lease_id), row.reason, row.at)
                for row in conn.execute(CHANGES, {"user_ids": self.user_ids})
            ]

    def requests(self) -> list[Request]:
        with self.engine.begin() as conn:
            return [
                Request(str(row.request_id), str(row.selector), row.priority, row.created_at, row.granted_at)
                for row in conn.execute(REQUESTS)
            ]

    def places(self) -> dict[str, int]:
        """Who waits, in the order of age."""
        with self.engine.begin() as conn:
            return {str(row.request_id): row.id for row in conn.execute(PLACES)}

    def attended(self) -> int:
        """How many requests wait whose calls are open, as far as the database knows."""
        with self.engine.begin() as conn:
            return int(conn.execute(ATTENDED).scalar_one())

    def connections(self) -> dict[str, int]:
        """What the connections of the API processes are doing; a transaction that has just paused counts as active."""
        with self.engine.begin() as conn:
            return {row.state: row.connections for row in conn.execute(CONNECTIONS)}

    @property
    def pooled_connections(self) -> int:
        """How many an API process may have: lanes, requests, dispatcher, health, and the pool of everything else."""
        settings = self.apis[0].settings
        return 2 * (settings.lanes + 1) + 2 + 1 + settings.pool_size

    def held(self) -> int:
        with self.engine.begin() as conn:
            return int(conn.execute(HELD).scalar_one())


def _name(lease_id: UUID | None) -> str | None:
    return None if lease_id is None else str(lease_id)
