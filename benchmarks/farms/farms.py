"""A farm to measure: Botfarm's processes on a database of their own, as an operator would run them."""

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis
from sqlalchemy import Engine

from benchmarks.farms import servers
from benchmarks.farms.databases import fill, new_database
from benchmarks.figures import Setup
from domain.keys import NewKey, create
from standalone import ports
from standalone.processes.programs import Program

PRINCIPAL = "bench"
SCOPES = ("read", "lock", "events", "admin")


@dataclass(frozen=True)
class Farm:
    """A running farm. `key` are the headers that open it, `redis_prefix` what its names in Redis begin with."""

    url: str
    key: Mapping[str, str]
    engine: Engine
    redis_url: str
    redis_prefix: str
    programs: Sequence[Program] = field(repr=False)

    def pids(self) -> list[int]:
        """Of the API, of the worker, and of the processes they started."""
        parents = [psutil.Process(program.pid) for program in self.programs]
        return [process.pid for parent in parents for process in (parent, *parent.children(recursive=True))]


@contextlib.contextmanager
def farming(
    setup: Setup,
    *,
    users: int,
    locked_percent: int = 0,
    api_workers: int = 2,
    worker: bool = True,
    keys: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Farm]:
    """API and worker on a new database with so many users, until the end of the block. Raises StandaloneError.

    `environment` comes on top of what the farm is given, and counts for all its processes.
    """
    with new_database(setup.database_url, pool_size=8) as engine, contextlib.ExitStack() as stack:
        fill(engine, count=users, locked_percent=locked_percent)
        prefix = f"bench-{uuid.uuid4().hex[:8]}:"
        port = ports.free()
        variables = serving_environment(setup, engine) | {
            "BOTFARM_REDIS_PREFIX": prefix,
            "BOTFARM_PORT": str(port),
            "BOTFARM_API_WORKERS": str(api_workers),
            "BOTFARM_AUTH": "keys" if keys else "off",
            **(environment or {}),
        }
        headers = _key(engine) if keys else {}
        stack.callback(forget, setup.redis_url, prefix=prefix)
        programs = [program("api", ["-m", "api"], variables, setup.folder, port=port, path="/readyz")]
        if worker:
            programs.append(working(setup, variables))
        for started in programs:
            stack.callback(started.kill)  # a graceful end would be for callers and data, and both are gone with it
            started.start()
        yield Farm(f"http://{ports.LOOPBACK}:{port}", headers, engine, setup.redis_url, prefix, programs)


def serving_environment(setup: Setup, engine: Engine) -> dict[str, str]:
    """The variables of a process on that database that takes no setting of this machine's own: all is as it comes.

    So the API writes its line for every call, into a file.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOTFARM_")}
    return kept | {
        "DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "REDIS_URL": setup.redis_url,
        "BOTFARM_REDIS_PREFIX": f"bench-{uuid.uuid4().hex[:8]}:",
    }


def forget(redis_url: str, *, prefix: str) -> None:
    """Delete what a farm left in Redis: in the database that is named, and in the next, which holds the queue.

    A Redis that does not answer is left as it is.
    """
    if not servers.answers(redis_url):
        return
    with contextlib.closing(redis.Redis.from_url(redis_url, single_connection_client=True)) as client:
        number = int(client.connection_pool.connection_kwargs.get("db") or 0)
        for database in (number, number + 1):
            client.select(database)
            for key in client.scan_iter(f"{prefix}*", count=1_000):
                client.unlink(key)


def working(setup: Setup, variables: Mapping[str, str]) -> Program:
    """A worker that has not been started yet."""
    port = ports.free()
    return program("worker", ["-m", "worker"], {**variables, "BOTFARM_WORKER_PORT": str(port)}, setup.folder, port=port)


def program(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    *,
    port: int,
    path: str = "/health",
) -> Program:
    """A Python program on that port, not started yet, with its log in the folder."""
    return Program(
        name,
        command=[sys.executable, *arguments],
        environment=environment,
        log=folder / "logs" / f"{name}-{port}.log",
        address=(ports.LOOPBACK, port),
        path=path,
    )


def _key(engine: Engine) -> dict[str, str]:
    with engine.begin() as conn:
        _, key = create(conn, new=NewKey(name=PRINCIPAL, scopes=SCOPES), created_by="the benchmark")
    return {"Authorization": f"Bearer {key}"}
