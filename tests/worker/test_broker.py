"""The broker's place on Redis, and what runs around its messages."""

import pytest
from dramatiq.middleware import AgeLimit, Retries, TimeLimit

from worker.broker import broker, client
from worker.loops import Loops


@pytest.mark.parametrize(
    ("url", "number"),
    [("redis://localhost", 1), ("redis://localhost/0", 1), ("redis://localhost/4", 5), ("rediss://u:p@localhost/2", 3)],
)
def test_the_queues_live_in_the_database_after_the_one_of_cache_and_stream(url: str, number: int) -> None:
    options = client(url).connection_pool.connection_kwargs

    assert options["db"] == number
    assert options["host"] == "localhost"


def test_the_middleware_is_spelled_out_and_in_order() -> None:
    assert [type(middleware) for middleware in broker.middleware] == [AgeLimit, TimeLimit, Retries, Loops]
