"""`python -m domain migrate`: exit 0 and the database is ready, or exit 1 and one clear line."""

import os
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from domain import __main__ as command
from domain import sealing
from domain.postgres import engines, schema_version
from domain.sealing import KeyRing
from tests import patience
from tests.domain.farms import Farm

SOURCES = Path(__file__).resolve().parents[3]
ONE_MIGRATOR = 7_301_960  # as in migrations/env.py, which only Alembic can import

pytestmark = pytest.mark.usefixtures("logging_restored")


@pytest.fixture
def empty_url(admin_engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An empty database, which DATABASE_URL names."""
    name = f"botfarm_empty_{uuid.uuid4().hex[:12]}"
    with admin_engine.connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name} TEMPLATE template0"))
    url = admin_engine.url.set(database=name).render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("BOTFARM_AUTH", "off")
    monkeypatch.delenv("BOTFARM_SECRET_KEYS_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    yield url
    with admin_engine.connect() as conn:
        conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def is_current(url: str) -> bool:
    engine = engines.engine(url)
    with engine.connect() as conn:
        current = schema_version.is_current(conn)
    engine.dispose()
    return current


def the_one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert line.startswith("botfarm: ")
    return line.removeprefix("botfarm: ")


def test_migrating_an_empty_database_makes_it_current(empty_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = command.main(["migrate"]), command.main(["migrate"])

    assert (first, second) == (0, 0)
    assert is_current(empty_url)
    assert capsys.readouterr() == (f"database at revision {schema_version.required()}\n" * 2, "")


def test_several_that_migrate_at_once_all_succeed(empty_url: str) -> None:
    runs = [_start(empty_url) for _ in range(3)]

    body = [run.communicate(timeout=patience.limit(60))[0] for run in runs]

    assert body == [f"database at revision {schema_version.required()}\n"] * 3
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert is_current(empty_url)


def test_a_migration_waits_for_the_one_that_is_under_way(empty_url: str, ring: KeyRing) -> None:
    engine = engines.engine(empty_url)
    with engine.connect() as other:
        other.execute(text(f"SELECT pg_advisory_xact_lock({ONE_MIGRATOR})"))
        run = _start(empty_url)
        Farm(engine, ring).await_waiting()
        tables = other.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).scalar_one()
        other.commit()
    body, _ = run.communicate(timeout=patience.limit(60))
    engine.dispose()

    assert tables == 0
    assert (body, run.returncode) == (f"database at revision {schema_version.required()}\n", 0)


@pytest.mark.usefixtures("empty_url")
def test_the_key_file_is_made_once_for_its_owner_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secret.keys"
    monkeypatch.setenv("BOTFARM_SECRET_KEYS_FILE", str(path))

    codes = [command.main(["migrate", "--make-key-file"]) for _ in range(2)]

    assert codes == [0, 0]
    assert len(sealing.load(text="", file=str(path)).keys) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert capsys.readouterr().out.count(f"made sealing keys {path}") == 1


@pytest.mark.usefixtures("empty_url")
def test_a_key_file_without_a_name_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["migrate", "--make-key-file"])

    assert code == 1
    assert the_one_line(capsys) == "--make-key-file needs BOTFARM_SECRET_KEYS_FILE"


@pytest.mark.usefixtures("empty_url")
def test_an_unwritable_key_file_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOTFARM_SECRET_KEYS_FILE", str(tmp_path / "nowhere" / "secret.keys"))

    code = command.main(["migrate", "--make-key-file"])

    assert code == 1
    assert "No such file or directory" in the_one_line(capsys)


def test_a_bad_setting_is_reported_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://me:s3cret@db/farm")

    code = command.main(["migrate"])

    line = the_one_line(capsys)
    assert code == 1
    assert line == "DATABASE_URL: must be a postgresql:// URL, not mysql://"


def test_a_default_password_at_another_host_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BOTFARM_AUTH", raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://botfarm:botfarm@192.0.2.1/farm")

    code = command.main(["migrate"])

    assert code == 1
    assert the_one_line(capsys).startswith("the database at 192.0.2.1 has a default password: give botfarm another")


@pytest.mark.usefixtures("empty_url")
def test_a_key_file_that_is_open_to_others_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secret.keys"
    sealing.make_file(path)
    path.chmod(0o640)
    monkeypatch.setenv("BOTFARM_SECRET_KEYS_FILE", str(path))

    code = command.main(["migrate", "--make-key-file"])

    assert code == 1
    assert the_one_line(capsys) == f"{path} holds sealing keys and is open to others: chmod 600 {path}"


def test_an_unreachable_database_is_reported_without_its_password(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "WAIT_SECONDS", 2.0)
    missing = make_url(empty_url).set(database="nowhere", password="s3cret")
    monkeypatch.setenv("DATABASE_URL", missing.render_as_string(hide_password=False))

    code = command.main(["migrate"])

    line = the_one_line(capsys)
    assert code == 1
    assert line.startswith("cannot migrate postgresql+psycopg2://")
    assert "s3cret" not in line


def test_a_server_that_is_away_is_waited_for(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "WAIT_SECONDS", 2.5)
    monkeypatch.setenv("DATABASE_URL", make_url(empty_url).set(port=1).render_as_string(hide_password=False))
    began = time.monotonic()

    code = command.main(["migrate"])

    assert code == 1
    assert "refused" in the_one_line(capsys)
    assert 0.2 <= time.monotonic() - began < patience.limit(2.5)


def _start(database_url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "domain", "migrate"],
        cwd=SOURCES,
        env={**os.environ, "DATABASE_URL": database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
