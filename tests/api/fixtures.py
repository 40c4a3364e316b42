"""Farms to test from the outside, and servers of one's own to mistreat."""

import contextlib
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text

from domain import sealing
from domain.configuration.settings import Settings
from domain.postgres import engines, schema_version
from standalone.servers import data_places
from standalone.servers.postgres import Postgres
from tests.api.farms import Crowded, Farm, farming
from tests.api.logs import logging_to
from tests.api.servers import ApiProcess
from tests.secrets import watching


@pytest.fixture(autouse=True, scope="module")
def plain_logs() -> Iterator[None]:
    """Log in JSON: structlog unconfigured draws tracebacks in colour, which takes seconds."""
    with logging_to(sys.stderr):
        yield


@pytest.fixture(scope="session")
def fresh_settings(
    admin_engine: Engine, template: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Settings]]:
    """Settings with a database of their own at each call, for farms that outlive a test."""
    keys = tmp_path_factory.mktemp("farms") / "secret.keys"
    sealing.make_file(keys)
    names: list[str] = []

    def fresh() -> Settings:
        names.append(f"botfarm_farm_{uuid.uuid4().hex[:12]}")
        with admin_engine.connect() as conn:
            conn.execute(text(f"CREATE DATABASE {names[-1]} TEMPLATE {template}"))
        url = make_url(admin_engine.url).set(database=names[-1]).render_as_string(hide_password=False)
        return Settings(
            database_url=url,
            redis_url=redis_url,
            redis_prefix=f"{names[-1]}:",
            secret_keys_file=str(keys),
            port=0,
            worker_port=0,
        )

    yield fresh

    urls = [make_url(admin_engine.url).set(database=name).render_as_string(hide_password=False) for name in names]
    found = [leak for url in urls for leak in watching.leaks(url)]
    with admin_engine.connect() as conn:
        for name in names:
            conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    assert found == []


@pytest.fixture(scope="session")
def farm(fresh_settings: Callable[[], Settings]) -> Iterator[Farm]:
    """One farm for all tests that look at nothing but their own users."""
    with farming(fresh_settings()) as farm:
        yield farm


@pytest.fixture
def user(farm: Farm) -> dict[str, Any]:
    """A free user of the shared farm, with the password `s3cret`."""
    return farm.new_user(password="s3cret")


@pytest.fixture
def user_id(user: dict[str, Any]) -> str:
    return str(user["id"])


@pytest.fixture
def served(settings: Settings) -> Iterator[Farm]:
    """A farm of this test alone, empty at first."""
    with farming(settings) as farm:
        yield farm


@pytest.fixture
def crowded(settings: Settings) -> Iterator[Crowded]:
    """A farm with settings of the test's choice."""
    with contextlib.ExitStack() as stack:

        def make(**changes: object) -> Farm:
            return stack.enter_context(farming(settings.model_copy(update=changes)))

        yield make


@pytest.fixture
def process(settings: Settings, tmp_path: Path) -> Iterator[ApiProcess]:
    """`python -m api` on this test's database, not yet started."""
    process = ApiProcess(settings, tmp_path / "api.log")
    yield process
    process.kill()
    assert list(watching.leaks_of_logs(process.said())) == []


@pytest.fixture(scope="session")
def spare_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A database server to mistreat, with the schema in its database."""
    data_dir = tmp_path_factory.mktemp("spare") / "postgres"
    server = Postgres(data_dir)
    server.start()
    engine = engines.engine(server.url(), patience_seconds=None)
    schema_version.upgrade(engine)
    engine.dispose()
    yield server
    server.kill()
    data_places.discard(data_dir)


@pytest.fixture
def own_postgres(spare_postgres: Postgres) -> Postgres:
    """The spare server, running for this test alone whatever the last one did to it."""
    spare_postgres.start()
    return spare_postgres
