"""The one Redis client: a call never retries, and the queues have their own database."""

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from domain.redis import clients

ROOT = Path(__file__).parents[3]
BUILDS = re.compile(r"\bRedis(?:\.\w+)?\(|\bredis\.ConnectionPool\b")


class SilentServer:
    """Accepts connections and never answers; counts them."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for each in [self._listening, *self.connections]:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                self.connections.append(self._listening.accept()[0])
            except OSError:
                return


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    server = SilentServer()
    yield server
    server.close()


def test_a_call_to_a_server_that_does_not_answer_is_made_once(silent: SilentServer) -> None:
    client = clients.connect(silent.url, timeout_seconds=0.1)

    with pytest.raises(RedisError):
        client.ping()

    assert len(silent.connections) == 1
    client.close()


def test_a_client_that_retries_would_be_seen(silent: SilentServer) -> None:
    """The control of the test above."""
    client = redis.Redis.from_url(silent.url, socket_timeout=0.1, retry=Retry(NoBackoff(), 2))

    with pytest.raises(RedisError):
        client.ping()

    assert len(silent.connections) == 3
    client.close()


@pytest.mark.parametrize(
    ("url", "number"),
    [("redis://localhost", 1), ("redis://localhost/0", 1), ("redis://localhost/4", 5), ("rediss://u:p@localhost/2", 3)],
)
def test_the_next_database_follows_that_of_the_url(url: str, number: int) -> None:
    assert clients.next_database(url) == number


def test_a_database_that_is_given_overrides_that_of_the_url() -> None:
    options = clients.connect("redis://localhost/4", timeout_seconds=1, database=5).connection_pool.connection_kwargs

    assert (options["host"], options["db"]) == ("localhost", 5)


def builders(sources: dict[str, str]) -> list[str]:
    return [name for name, source in sources.items() if BUILDS.search(source)]


def test_no_other_module_of_the_server_builds_a_client() -> None:
    modules = [path for room in ("api", "domain", "worker") for path in (ROOT / room).rglob("*.py")]

    assert builders({str(path.relative_to(ROOT)): path.read_text() for path in modules}) == ["domain/redis/clients.py"]


@pytest.mark.parametrize(
    "line", ["redis.Redis.from_url(url)", "Redis(host='x')", "redis.ConnectionPool(**options)", "redis.Redis()"]
)
def test_a_module_that_builds_a_client_would_be_seen(line: str) -> None:
    assert builders({"planted.py": line}) == ["planted.py"]
