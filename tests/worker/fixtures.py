import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from domain.configuration.settings import Settings
from domain.postgres import engines
from domain.sealing import KeyRing
from tests.worker.farms import Farm, Outsider
from tests.worker.supervision import supervisors
from tests.worker.supervision.supervisors import StartWorker, Supervised
from tests.worker.webhooks import certificates
from tests.worker.webhooks.hooks import Hooks, hooks_on
from tests.worker.webhooks.receivers import Receiver, receiving
from worker.duties import Duties, open_duties
from worker.relay.relay import Relay
from worker.relay.stream import Stream

MakeRelay = Callable[..., Relay]
MakeDuties = Callable[..., Duties]


@pytest.fixture
def farm(engine: Engine, ring: KeyRing) -> Farm:
    return Farm(engine, ring)


@pytest.fixture
def stream(redis_url: str, redis_prefix: str) -> Iterator[Stream]:
    stream = Stream(redis_url, prefix=redis_prefix)
    yield stream
    stream.client.delete(stream.key)
    stream.close()


@pytest.fixture
def outsider(redis_url: str, stream: Stream) -> Iterator[Outsider]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    yield Outsider(client, stream.key)
    client.close()


@pytest.fixture
def single(database_url: str) -> Iterator[Engine]:
    """Single statements on the test's database, as a worker's relay has them: prepared, each its own transaction."""
    single = engines.engine(database_url, pool_size=40, patience_seconds=30, autocommit=True, prepare=True)
    yield single
    single.dispose()


@pytest.fixture
def make_relay(engine: Engine, single: Engine, stream: Stream) -> MakeRelay:
    """Relays that look at the stream in every turn, as if a second had passed."""

    def make(kind: type[Relay] = Relay, *, keep_count: int = 1_000_000) -> Relay:
        return kind(engine, stream, keep_count=keep_count, single=single, poll_seconds=0)

    return make


@pytest.fixture
def relay(make_relay: MakeRelay) -> Relay:
    return make_relay()


@pytest.fixture
def make_duties(settings: Settings) -> Iterator[MakeDuties]:
    """A worker's duties, which nothing does yet, on the Redis that is named: the tests' own when none is."""
    made: list[Duties] = []

    def make(redis_url: str = settings.redis_url, *, keep_count: int = 1_000_000) -> Duties:
        duties = open_duties(
            database_url=settings.database_url,
            redis_url=redis_url,
            redis_prefix=settings.redis_prefix,
            stream_keep_count=keep_count,
            events_keep=timedelta(days=1),
            events_keep_count=keep_count,
        )
        made.append(duties)
        return duties

    yield make
    for duties in made:
        duties.close()


@pytest.fixture
def hooks(engine: Engine, ring: KeyRing) -> Hooks:
    """Webhooks whose receivers may be on loopback, and have a second to answer."""
    return hooks_on(engine, ring)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that answers 204 until it is told otherwise."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[Receiver, ssl.SSLContext]]:
    """A receiver over TLS that is `hooks.example`, and what trusts its certificate."""
    serving, trusting = certificates.contexts(tmp_path)
    with receiving(context=serving) as receiver:
        yield receiver, trusting


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts `python -m worker` with what is added to its environment, and does not wait."""
    started: list[Supervised] = []

    def start(**variables: str) -> Supervised:
        ready_file = tmp_path / f"ready-{len(started)}.json"
        started.append(supervisors.start(settings, ready_file=ready_file, **variables))
        return started[-1]

    yield start
    for worker in started:
        worker.end()
