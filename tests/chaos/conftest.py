import os
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from standalone.valkey import Valkey


@pytest.fixture
def seconds() -> float:
    """How long the chaos lasts."""
    return float(os.environ.get("BOTFARM_CHAOS_SECONDS", "8"))


@pytest.fixture
def client(own_valkey: Valkey) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(own_valkey.url(), decode_responses=True, retry=Retry(NoBackoff(), 0))
    yield client
    client.close()
