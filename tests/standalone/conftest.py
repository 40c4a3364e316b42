"""Servers and whole runs on folders of their own, ended by pid whatever a test does to them."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from standalone.servers import data_places
from standalone.servers.postgres import Postgres
from standalone.servers.valkey import Valkey
from tests import patience
from tests.standalone.runs import Run, permissions

SERVERS = ("DATABASE_URL", "REDIS_URL")
SOURCES = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Start `python -m standalone` with these arguments; `environment` is added to ours."""
    with contextlib.ExitStack() as ending:
        yield lambda *arguments, **environment: ending.enter_context(started(tmp_path, arguments, environment))


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run for those who only look at it, on data below a folder that is closed to others."""
    closed = tmp_path_factory.mktemp("standing") / "closed"
    closed.mkdir(mode=0o700)
    data_dir = closed / "data"
    with started(closed, ["--data-dir", str(data_dir), "--port", "0"], {}) as run:
        run.ready()
        yield run
    data_places.discard(data_dir)


@contextlib.contextmanager
def started(folder: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[Run]:
    found = permissions([folder, *folder.parents, Path("/var/lib"), Path("/var/tmp"), Path(sys.prefix)])
    ready_file = folder / f"ready-{uuid.uuid4().hex}.json"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("BOTFARM_", *SERVERS))}
    popen = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "standalone", "--ready-file", str(ready_file), *arguments],
        cwd=SOURCES,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Run(popen, ready_file, found)
    finally:
        popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            popen.communicate(timeout=patience.limit(60))
        popen.kill()


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data folder; as root its Postgres data lies elsewhere, since pytest closes its folders."""
    folder = tmp_path / "data"
    yield folder
    data_places.discard(folder)


@pytest.fixture
def postgres(data_dir: Path) -> Iterator[Postgres]:
    server = Postgres(data_dir)
    yield server
    server.stop()


@pytest.fixture
def valkey(data_dir: Path) -> Iterator[Valkey]:
    server = Valkey(data_dir)
    yield server
    server.stop()
