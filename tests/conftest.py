"""Real servers for every test: those that DATABASE_URL and REDIS_URL name, or embedded ones started here."""

import base64
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from domain import sealing
from domain.configuration.settings import Settings
from domain.postgres import engines, schema_version
from domain.sealing import KeyRing
from standalone.servers.postgres import Postgres
from standalone.servers.valkey import Valkey
from tests.secrets import watching

# How a server of this machine is set is nothing to the tests, but that its database may have a default password.
for _name in Settings.model_fields.keys() - {"auth"}:
    os.environ.pop(f"BOTFARM_{_name.upper()}", None)


# Nor what the shell was started with: `nohup` and background jobs leave signals ignored, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(_number, signal.SIG_DFL)
os.umask(0o022)


def pytest_report_header(config: pytest.Config) -> str | None:
    quick = config.args_source is pytest.Config.ArgsSource.TESTPATHS and config.getini("testpaths") != ["tests"]
    return "the quick part of the tests; `make test` runs everything" if quick else None


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on which this session may create databases."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield Settings(database_url=given).database_url
        return
    server = Postgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    yield server.url("postgres")
    server.remove()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.url()
    found = watching.leaks_of_redis(server.url())
    server.stop()
    assert found == []


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Redis-protocol server of this test alone, running, to be mistreated."""
    server = Valkey(tmp_path / "valkey")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_prefix() -> str:
    """Keys of this test alone."""
    return f"test-{uuid.uuid4().hex}:"


@pytest.fixture(scope="session")
def admin_engine(postgres_url: str) -> Iterator[Engine]:
    engine = engines.engine(postgres_url, patience_seconds=30, autocommit=True)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def template(admin_engine: Engine) -> Iterator[str]:
    """The name of a migrated database, to be copied."""
    name = f"botfarm_template_{uuid.uuid4().hex[:12]}"
    _execute(admin_engine, f"CREATE DATABASE {name}")
    engine = engines.engine(_on(admin_engine, name), patience_seconds=None)
    schema_version.upgrade(engine)
    engine.dispose()
    yield name
    _execute(admin_engine, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def database_url(admin_engine: Engine, template: str) -> Iterator[str]:
    """A migrated, empty database of this test alone; at its end no secret may stand in it where none belongs."""
    name = f"botfarm_test_{uuid.uuid4().hex[:12]}"
    _execute(admin_engine, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _on(admin_engine, name)
    found = watching.leaks(_on(admin_engine, name))
    _execute(admin_engine, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    assert found == []


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Transactions on the test's database; up to 40 threads may have a connection each."""
    engine = engines.engine(database_url, pool_size=40, patience_seconds=30)
    yield engine
    engine.dispose()


@pytest.fixture
def ring() -> KeyRing:
    return sealing.parse(f"test:{base64.b64encode(bytes(range(32))).decode()}")


@pytest.fixture
def settings(database_url: str, redis_url: str, redis_prefix: str, tmp_path: Path) -> Settings:
    """What an API or worker of this test runs with."""
    keys = tmp_path / "secret.keys"
    sealing.make_file(keys)
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        redis_prefix=redis_prefix,
        secret_keys_file=str(keys),
        port=0,
        worker_port=0,
    )


def _on(engine: Engine, database: str) -> str:
    return make_url(engine.url).set(database=database).render_as_string(hide_password=False)


def _execute(engine: Engine, statement: str) -> None:
    with engine.connect() as conn:
        conn.execute(text(statement))
