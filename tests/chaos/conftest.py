import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.configuration.settings import Settings
from standalone.servers.valkey import Valkey
from tests.api.logs import logging_to
from tests.chaos.endings import SECONDS
from tests.chaos.misfortunes import RelayProcess, relay_environment


@pytest.fixture
def seconds() -> float:
    """How long the chaos lasts."""
    return SECONDS


@pytest.fixture(autouse=True, scope="module")
def quiet_logs() -> Iterator[None]:
    """An API in this process would tell of every blow."""
    with Path(os.devnull).open("w") as nowhere, logging_to(nowhere):
        yield


@pytest.fixture
def relays(settings: Settings, own_valkey: Valkey) -> Iterator[list[RelayProcess]]:
    """Two of them, at work."""
    relays = [RelayProcess(relay_environment(settings, own_valkey)) for _ in range(2)]
    yield relays
    for relay in relays:
        relay.end()


@pytest.fixture
def client(own_valkey: Valkey) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(own_valkey.url(), decode_responses=True, retry=Retry(NoBackoff(), 0))
    yield client
    client.close()
