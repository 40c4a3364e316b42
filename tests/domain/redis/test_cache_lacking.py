"""Who would write the read cache asks first what it lacks."""

import uuid

import pytest
import redis
from structlog.testing import CapturingLogger

from domain.redis import cache as caches
from domain.redis.cache import Cache, Entry


def test_what_is_missing_or_older_is_lacking_and_what_is_there_or_newer_is_not(cache: Cache) -> None:
    missing, older, same, newer = (uuid.uuid4() for _ in range(4))
    cache.put([Entry(older, 9, None), Entry(same, 10, None), Entry(newer, 11, None)])

    lacking = cache.lacking({missing: 10, older: 10, same: 10, newer: 10})

    assert lacking == [missing, older]


def test_asking_what_is_lacking_writes_nothing(cache: Cache, client: redis.Redis, redis_prefix: str) -> None:
    cache.lacking({uuid.uuid4(): 10})

    assert client.keys(f"{redis_prefix}*") == []


def test_who_has_nothing_to_put_and_nothing_to_ask_for_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    told = CapturingLogger()
    monkeypatch.setattr(caches, "log_", told)
    away = Cache("redis://127.0.0.1:1/0", prefix="x:")

    away.put([])

    assert away.lacking({}) == []
    assert told.calls == []  # that Redis is away would have been noticed


def test_a_key_of_another_type_is_counted_and_lacks_nothing_while_its_neighbours_do(
    cache: Cache, client: redis.Redis, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = CapturingLogger()
    monkeypatch.setattr(caches, "log_", told)
    odd, sound = uuid.uuid4(), uuid.uuid4()
    client.hset(f"{redis_prefix}lock:{odd}", "json", b"poison")

    lacking = cache.lacking({odd: 7, sound: 7})

    assert lacking == [sound]
    assert [(call.method_name, call.args, call.kwargs) for call in told.calls] == [
        ("warning", ("cache_refused",), {"keys": 1})
    ]
