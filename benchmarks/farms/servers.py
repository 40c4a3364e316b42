"""The Postgres and the Redis to measure on: those that the environment names, or ones of our own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text

from benchmarks.failures import Unmeasured
from domain.configuration.settings import Settings
from domain.postgres import engines
from standalone.servers.postgres import Postgres
from standalone.servers.valkey import Valkey

CONNECTIONS = 500  # all peers are up at the same time, and pgbench alone has 128
PATIENCE_SECONDS = 2.0
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
SHOW = text("SELECT current_setting(:name)")


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str]]:
    """Their addresses. Raises Unmeasured for a Postgres that is not durable, as its figures would flatter."""
    with contextlib.ExitStack() as stack:
        database_url = os.environ.get("DATABASE_URL") or _own_postgres(folder, stack)
        redis_url = os.environ.get("REDIS_URL") or _own_valkey(folder, stack)
        database_url = Settings(database_url=database_url).database_url
        _require(database_url)
        yield database_url, redis_url


def answers(redis_url: str) -> bool:
    """Whether there is a Redis at that address now."""
    client = redis.Redis.from_url(
        redis_url,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    with contextlib.closing(client), contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
        return bool(client.ping())
    return False


def _own_postgres(folder: Path, stack: contextlib.ExitStack) -> str:
    server = Postgres(folder / "postgres", settings={"max_connections": str(CONNECTIONS)})
    stack.callback(server.remove)
    server.start()
    return server.url("postgres")


def _own_valkey(folder: Path, stack: contextlib.ExitStack) -> str:
    server = Valkey(folder / "valkey")
    stack.callback(server.stop)
    server.start()
    return server.url()


def _require(database_url: str) -> None:
    engine = engines.engine(database_url)
    with contextlib.closing(engine.connect()) as conn:
        off = [name for name in DURABLE if conn.execute(SHOW, {"name": name}).scalar_one() != "on"]
        most = int(conn.execute(SHOW, {"name": "max_connections"}).scalar_one())
    engine.dispose()
    if off:
        raise Unmeasured(f"DATABASE_URL names a Postgres with {', '.join(off)} not on: its figures would flatter")
    if most < CONNECTIONS:
        raise Unmeasured(f"DATABASE_URL names a Postgres with max_connections {most}: {CONNECTIONS} are needed")
