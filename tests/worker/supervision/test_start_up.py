"""How a worker refuses to start: with one clear line, before anything of it runs."""

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from domain import sealing
from tests import patience
from tests.patience import until
from tests.worker.supervision.supervisors import StartWorker
from worker import __main__ as program

PASSWORD = "planted-database-password"


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **variables: str) -> str:
    for name in os.environ:
        if name.startswith("BOTFARM_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("worker.supervision.supervisor.run", lambda *_, **__: pytest.fail("it started"))
    for name, value in {"DATABASE_URL": "postgresql://me@127.0.0.1:1/farm", **variables}.items():
        monkeypatch.setenv(name, value)

    code = program.main([])

    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("{")]
    assert code == 1
    assert PASSWORD not in line
    return line


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"DATABASE_URL": "postgresql://postgres:postgres@192.0.2.1/farm"}, "192.0.2.1 has a default password"),
        ({"BOTFARM_SECRET_KEYS": f"one:{PASSWORD}"}, "sealing key 1 is not the base64 of 32 bytes"),
        ({"BOTFARM_SECRET_KEYS_FILE": "/nowhere/secret.keys"}, "/nowhere/secret.keys"),
        ({"BOTFARM_WORKER_PORT": "http"}, "BOTFARM_WORKER_PORT: "),
        ({"DATABASE_URL_FILE": "/nowhere/url"}, "DATABASE_URL and DATABASE_URL_FILE are both given"),
    ],
    ids=str,
)
def test_unsafe_or_invalid_settings_are_refused_with_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], expected: str
) -> None:
    line = refusal(monkeypatch, capsys, **variables)

    assert line.startswith("botfarm: ")
    assert expected in line


def test_a_key_file_that_is_open_to_others_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keys = tmp_path / "secret.keys"
    sealing.make_file(keys)
    keys.chmod(0o644)

    line = refusal(monkeypatch, capsys, BOTFARM_SECRET_KEYS_FILE=str(keys))

    assert line == f"botfarm: {keys} holds sealing keys and is open to others: chmod 600 {keys}"


def test_a_worker_refuses_a_schema_older_than_it_needs_in_one_line(start_worker: StartWorker, engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM alembic_version"))

    worker = start_worker()
    _, said = worker.popen.communicate(timeout=patience.limit(20))

    assert worker.popen.returncode == 1
    assert "older than this worker needs" in said
    assert len(said.splitlines()) == 1


def test_a_start_without_postgres_ends_after_ten_seconds_in_one_line(start_worker: StartWorker) -> None:
    began = time.monotonic()

    worker = start_worker(DATABASE_URL="postgresql://nobody:secret@127.0.0.1:1/x")
    _, said = worker.popen.communicate(timeout=patience.limit(20))

    assert worker.popen.returncode == 1
    assert 5 < time.monotonic() - began < patience.limit(14)
    assert len(said.splitlines()) == 1
    assert "cannot use postgresql+psycopg2://nobody:***@127.0.0.1:1/x" in said


def test_an_address_in_use_is_reported_in_one_line(start_worker: StartWorker) -> None:
    first = start_worker(BOTFARM_WORKER_HOST="127.0.0.1")
    until(lambda: first.ready, seconds=20)

    second = start_worker(BOTFARM_WORKER_HOST="127.0.0.1", BOTFARM_WORKER_PORT=first.ready["url"].rpartition(":")[2])
    _, said = second.popen.communicate(timeout=patience.limit(20))

    assert second.popen.returncode == 1
    assert said.splitlines()[-1].startswith("botfarm: cannot listen on 127.0.0.1:")
