"""Who would write the read cache asks first what it lacks."""

import uuid

import pytest
import redis
from structlog.testing import CapturingLogger

from domain.redis import cache as caches
from domain.redis.cache import Cache, Entry


def test_missing_and_older_entries_are_lacking_and_current_ones_are_not(cache: Cache) -> None:
    missing, older, same, newer = (uuid.uuid4() for _ in range(4))
    cache.put([Entry(older, 9, None), Entry(same, 10, None), Entry(newer, 11, None)])

    lacking = cache.lacking({missing: 10, older: 10, same: 10, newer: 10})

    assert lacking == [missing, older]


def test_reading_what_is_lacking_writes_nothing(cache: Cache, client: redis.Redis, redis_prefix: str) -> None:
    cache.lacking({uuid.uuid4(): 10})

    assert client.keys(f"{redis_prefix}*") == []


def test_empty_input_sends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = CapturingLogger()
    monkeypatch.setattr(caches, "log_", captured)
    unavailable = Cache("redis://127.0.0.1:1/0", prefix="x:")

    unavailable.put([])

    assert unavailable.lacking({}) == []
    assert captured.calls == []  # a command would have logged that Redis is unavailable


def test_a_redis_key_of_another_type_is_counted_and_does_not_hide_the_lacking_ones(
    cache: Cache, client: redis.Redis, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = CapturingLogger()
    monkeypatch.setattr(caches, "log_", captured)
    odd, sound = uuid.uuid4(), uuid.uuid4()
    client.hset(f"{redis_prefix}lock:{odd}", "json", b"poison")

    lacking = cache.lacking({odd: 7, sound: 7})

    assert lacking == [sound]
    assert [(call.method_name, call.args, call.kwargs) for call in captured.calls] == [
        ("warning", ("cache_refused",), {"keys": 1})
    ]
