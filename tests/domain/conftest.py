"""Farms to test on: shared by tests that mind only users of their own, emptied for one test, or new."""

import contextlib
import logging
import os
from collections.abc import Iterator
from uuid import UUID

import hypothesis
import pytest
import redis
import structlog
from sqlalchemy import Engine, make_url, text

from domain import log
from domain.postgres import engines
from domain.redis.cache import Cache
from domain.sealing import KeyRing
from tests.domain.farms import Farm

# BOTFARM_HYPOTHESIS=long looks for hours where `short` looks for seconds. Limits of time would fail on a busy machine.
hypothesis.settings.register_profile(
    "short", deadline=None, max_examples=100, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("long", hypothesis.settings.get_profile("short"), max_examples=5_000)
hypothesis.settings.load_profile(os.environ.get("BOTFARM_HYPOTHESIS", "short"))

# Makes a farm empty far sooner than a new database would be there.
EMPTY = """
DELETE FROM users; DELETE FROM outbox; DELETE FROM events; DELETE FROM heartbeats;
DELETE FROM epochs; INSERT INTO epochs VALUES (1, 1);
DELETE FROM relay_state; INSERT INTO relay_state DEFAULT VALUES;
"""


@pytest.fixture(scope="session")
def shared_engine(admin_engine: Engine, template: str) -> Iterator[Engine]:
    """A database that many tests add users to; nobody may count on it being empty."""
    with _database(admin_engine, template, name=f"{template}_shared", pool_size=10) as engine:
        yield engine


@pytest.fixture(scope="session")
def emptied_engine(admin_engine: Engine, template: str) -> Iterator[Engine]:
    """A database that one test after the other has for itself."""
    with _database(admin_engine, template, name=f"{template}_emptied", pool_size=40) as engine:
        yield engine


@pytest.fixture
def farm(shared_engine: Engine, ring: KeyRing) -> Farm:
    """For tests about single users: a farm where others may be at work."""
    return Farm(shared_engine, ring)


@pytest.fixture
def own_farm(emptied_engine: Engine, ring: KeyRing) -> Farm:
    """For tests about the whole: a farm that was empty when the test began."""
    with emptied_engine.begin() as conn:
        conn.execute(text(EMPTY))
    return Farm(emptied_engine, ring)


@pytest.fixture
def new_farm(engine: Engine, ring: KeyRing) -> Farm:
    """For tests that change the database itself: a farm on one of their own."""
    return Farm(engine, ring)


@pytest.fixture
def cache(redis_url: str, redis_prefix: str) -> Iterator[Cache]:
    cache = Cache(redis_url, prefix=redis_prefix)
    yield cache
    cache.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Redis itself, to look at what the cache holds and to put other things there."""
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture
def user_id(farm: Farm) -> UUID:
    return farm.add()


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Logging as it was before, for tests that configure it."""
    handlers, level = logging.root.handlers[:], logging.root.level
    alembic = logging.getLogger("alembic").level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.getLogger("alembic").setLevel(alembic)
    structlog.reset_defaults()
    log.Routine.short_cut = False


@contextlib.contextmanager
def _database(admin_engine: Engine, template: str, *, name: str, pool_size: int) -> Iterator[Engine]:
    with admin_engine.connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    url = make_url(admin_engine.url).set(database=name).render_as_string(hide_password=False)
    engine = engines.engine(url, pool_size=pool_size, patience_seconds=30)
    yield engine
    engine.dispose()
    with admin_engine.connect() as conn:
        conn.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
