from collections.abc import Callable, Iterator

import pytest
import redis
from sqlalchemy import Engine

from domain.sealing import KeyRing
from tests.worker.farms import Farm, Outsider
from tests.worker.hooks import Hooks, hooks_on
from tests.worker.receivers import Receiver, receiving
from worker.relay import Relay
from worker.stream import Stream

MakeRelay = Callable[..., Relay]


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
def make_relay(engine: Engine, stream: Stream) -> MakeRelay:
    """Relays that look at the stream in every turn, as if a second had passed."""

    def make(kind: type[Relay] = Relay, *, keep_count: int = 1_000_000) -> Relay:
        return kind(engine, stream, keep_count=keep_count, look_seconds=0)

    return make


@pytest.fixture
def relay(make_relay: MakeRelay) -> Relay:
    return make_relay()


@pytest.fixture
def hooks(engine: Engine, ring: KeyRing) -> Iterator[Hooks]:
    """Webhooks whose receivers may be on loopback, and have a second to answer."""
    hooks = hooks_on(engine, ring)
    yield hooks
    hooks.deliverer.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that answers 204 until it is told otherwise."""
    with receiving() as receiver:
        yield receiver
