"""The broker's database on Redis, and the middleware around its messages."""

from dramatiq.middleware import AgeLimit, Retries, TimeLimit
from redis.connection import parse_url

from worker.broker import broker, settings
from worker.loops import Loops


def test_the_queues_live_in_the_database_after_the_one_of_cache_and_stream() -> None:
    own: int = broker.client.connection_pool.connection_kwargs["db"]

    assert own == parse_url(settings.redis_url).get("db", 0) + 1  # type: ignore[no-untyped-call]


def test_the_middleware_is_spelled_out_and_in_order() -> None:
    assert [type(middleware) for middleware in broker.middleware] == [AgeLimit, TimeLimit, Retries, Loops]
