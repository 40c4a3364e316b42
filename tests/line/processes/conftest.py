import os
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, make_url, text

from domain import sealing
from domain.configuration.settings import Settings
from domain.postgres import engines
from standalone.servers.valkey import Valkey
from tests.api.servers import ApiProcess
from tests.line.processes.farms import Farm, WorkerProcess


@pytest.fixture
def seconds() -> float:
    """How long a crowd goes round."""
    return min(30.0, float(os.environ.get("BOTFARM_CHAOS_SECONDS", "5")))


@pytest.fixture(scope="module")
def processes(admin_engine: Engine, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Two API processes and a worker, on a database and a server that speaks Redis of their own."""
    folder = tmp_path_factory.mktemp("line")
    name = f"botfarm_line_{uuid.uuid4().hex[:12]}"
    with admin_engine.connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    url = make_url(admin_engine.url).set(database=name).render_as_string(hide_password=False)
    sealing.make_file(folder / "secret.keys")
    valkey = Valkey(folder / "valkey")
    valkey.start()
    settings = Settings(
        database_url=url, redis_url=valkey.url(), secret_keys_file=str(folder / "secret.keys"), port=0, worker_port=0
    )
    apis = [ApiProcess(settings, folder / f"api-{letter}.log") for letter in "ab"]
    farm = Farm(apis, WorkerProcess(settings, folder / "worker.log"), valkey, engines.engine(url, patience_seconds=30))
    try:
        yield farm
    finally:
        farm.end()
        with admin_engine.connect() as conn:
            conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def farm(processes: Farm) -> Farm:
    """All that an earlier test has mistreated runs again, and nobody waits; its users are out of service."""
    processes.start()
    processes.clear()
    return processes
