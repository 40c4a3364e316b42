"""The Redis client of every part of Botfarm: a call either succeeds within its time-out or raises."""

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry


def connect(url: str, *, timeout_seconds: float, database: int | None = None) -> redis.Redis:
    """A client with its own pool, which connects at the first call and never retries.

    redis-py retries with a back-off by default, so that one hanging call holds its thread for seconds; every caller
    here has a back-off or a poll of its own. Options in the query of the URL override the time-out, as redis-py
    documents; `database` overrides the URL's. Answers are bytes: a foreign entry need not be text.
    """
    options = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        **parse_url(url),  # type: ignore[no-untyped-call]
    }
    if database is not None:
        options["db"] = database
    return redis.Redis.from_pool(redis.ConnectionPool(**options))


def next_database(url: str) -> int:
    """The number of the database after the URL's."""
    return int(parse_url(url).get("db", 0)) + 1  # type: ignore[no-untyped-call]
