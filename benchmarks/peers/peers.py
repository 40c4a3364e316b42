"""Who is measured side by side: each a service whose users can be acquired and released."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from signal import SIGTERM
from typing import Protocol

import redis
from sqlalchemy import Engine

from benchmarks.farms.databases import fill, new_database
from benchmarks.farms.farms import Farm, farming, forget, program, serving_environment, working
from benchmarks.figures import Setup
from benchmarks.load import open_loop, wrk
from benchmarks.load.settling import Ledger
from benchmarks.load.wrk import Drive
from benchmarks.peers import etcd as etcds
from benchmarks.peers import pgbench
from benchmarks.peers.etcd import Etcd
from standalone import ports
from standalone.processes import processes

# What Botfarm and the plain peer are given each; each process has some thirty connections to the same Postgres.
PROCESSES = min(4, len(os.sched_getaffinity(0)))
CONSUMERS = "bench"
CUT_OFF_SECONDS = 0.5  # within which etcd has dealt with calls that have hung up


class Peer(Protocol):
    """A service under measurement. What it says it did is compared with what its store knows of."""

    name: str
    clients_most: int

    def closed(self, *, clients: int, seconds: float) -> Drive:
        """So many clients, each with one call on its way all the time."""

    def changes(self) -> int:
        """How many changes its store has seen since it was made."""

    def settle(self) -> int | None:
        """Wait until nothing is left to do and all users are free again; how many events were left to tell at first."""


class HttpPeer:
    """One that stands on Botfarm's tables and is called by Botfarm's paths."""

    clients_most = 100_000

    def __init__(self, name: str, *, url: str, headers: Mapping[str, str], ledger: Ledger, folder: Path) -> None:
        self.name = name
        self._url, self._headers, self._ledger = url, headers, ledger
        self._file = folder / f"{name}.requests"
        paths = [
            f"/api/v1/users/{user_id}/{verb}" for verb in ("acquire_lock", "release_lock") for user_id in ledger.ids()
        ]
        wrk.write_requests([(path, "") for path in paths], file=self._file)

    def closed(self, *, clients: int, seconds: float) -> Drive:
        return wrk.replay(self._url, file=self._file, clients=clients, seconds=seconds, headers=self._headers)

    def open(self, *, rate: float, seconds: float) -> Drive:
        """Calls at a constant rate, their latency counted from when each was due."""
        return open_loop.drive(self._url, file=self._file, rate=rate, seconds=seconds, headers=self._headers)

    def changes(self) -> int:
        return self._ledger.changes()

    def settle(self) -> int:
        return self._ledger.settle()


class PgbenchPeer:
    name = "pgbench"
    clients_most = 128  # each is a connection, and beyond that Postgres wants a pooler in front

    def __init__(self, engine: Engine, *, users: int, ledger: Ledger, folder: Path) -> None:
        self._engine, self._users, self._ledger, self._folder = engine, users, ledger, folder

    def closed(self, *, clients: int, seconds: float) -> Drive:
        return pgbench.drive(self._engine.url, users=self._users, clients=clients, seconds=seconds, folder=self._folder)

    def changes(self) -> int:
        return self._ledger.changes()

    def settle(self) -> int:
        return self._ledger.settle()


class EtcdPeer:
    name = "etcd"
    clients_most = 100_000

    def __init__(self, server: Etcd, *, users: int, folder: Path) -> None:
        self._server = server
        self._file = folder / "etcd.requests"
        wrk.write_requests(etcds.requests(users), file=self._file)

    def closed(self, *, clients: int, seconds: float) -> Drive:
        return wrk.replay(self._server.url, file=self._file, clients=clients, seconds=seconds, headers={})

    def changes(self) -> int:
        return self._server.revision()

    def settle(self) -> None:
        time.sleep(CUT_OFF_SECONDS)
        self._server.clear()


@contextlib.contextmanager
def botfarm(setup: Setup, *, users: int) -> Iterator[Peer]:
    """Everything switched on: keys, metrics, the worker, and a consumer that reads the stream."""
    with farming(setup, users=users, api_workers=PROCESSES) as farm, _consuming(setup, farm) as behind:
        yield HttpPeer(
            "botfarm",
            url=farm.url,
            headers=farm.key,
            ledger=Ledger(farm.engine, behind=behind),
            folder=setup.folder,
        )


@contextlib.contextmanager
def plain(setup: Setup, *, users: int) -> Iterator[Peer]:
    """The usual shape (plain_app.py) on a database of its own, which a worker drains."""
    with _drained(setup, users=users) as (engine, variables):
        port = ports.free()
        arguments = [
            *("-m", "uvicorn", "benchmarks.peers.plain_app:app", "--port", str(port), "--workers", str(PROCESSES)),
            *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
        ]
        app = program("plain", arguments, variables, setup.folder, port=port, path="/readyz")
        with contextlib.ExitStack() as stack:
            stack.callback(app.kill)
            app.start()
            url = f"http://{ports.LOOPBACK}:{port}"
            yield HttpPeer("plain", url=url, headers={}, ledger=Ledger(engine), folder=setup.folder)


@contextlib.contextmanager
def single_row(setup: Setup, *, users: int) -> Iterator[Peer]:
    """Pgbench on a database of its own, which a worker drains."""
    with _drained(setup, users=users) as (engine, _):
        pgbench.number_users(engine)
        yield PgbenchPeer(engine, users=users, ledger=Ledger(engine), folder=setup.folder)


@contextlib.contextmanager
def etcd(setup: Setup, *, users: int) -> Iterator[Peer]:
    server = Etcd(setup.folder / "etcd")
    try:
        server.start()
        yield EtcdPeer(server, users=users, folder=setup.folder)
    finally:
        server.kill()


def nothing_needed() -> None:
    """A peer that comes with Botfarm."""


Opening = Callable[..., contextlib.AbstractContextManager[Peer]]
PEERS: Mapping[str, tuple[Opening, Callable[[], object]]] = {
    "botfarm": (botfarm, nothing_needed),
    "plain": (plain, nothing_needed),
    "pgbench": (single_row, pgbench.program),
    "etcd": (etcd, etcds.program),
}


@contextlib.contextmanager
def _drained(setup: Setup, *, users: int) -> Iterator[tuple[Engine, Mapping[str, str]]]:
    """A database with users and a worker, and the environment of a process on it."""
    with new_database(setup.database_url, pool_size=2) as engine, contextlib.ExitStack() as stack:
        fill(engine, count=users, locked_percent=0)
        variables = serving_environment(setup, engine) | {"BOTFARM_AUTH": "off"}
        stack.callback(forget, setup.redis_url, prefix=variables["BOTFARM_REDIS_PREFIX"])
        worker = working(setup, variables)
        stack.callback(worker.kill)
        worker.start()
        yield engine, variables


@contextlib.contextmanager
def _consuming(setup: Setup, farm: Farm) -> Iterator[Callable[[], int]]:
    """A consumer until the end of the block; the call tells how many events it has not dealt with."""
    key = f"{farm.redis_prefix}events"
    with contextlib.closing(redis.Redis.from_url(farm.redis_url)) as client:
        client.xgroup_create(key, CONSUMERS, id="0", mkstream=True)

        def behind() -> int:
            (group,) = client.xinfo_groups(key)
            return int(group["lag"] or 0) + int(group["pending"])

        consumer = processes.Process("consumer", log=setup.folder / "logs" / "consumer.log", parting_signal=SIGTERM)
        try:
            consumer.launch([sys.executable, "-m", "benchmarks.load.stream_consumer", farm.redis_url, key, CONSUMERS])
            yield behind
        finally:
            consumer.kill()
