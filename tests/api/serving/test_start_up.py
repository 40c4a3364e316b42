"""How the process refuses to start."""

import contextlib
import io
import json
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import uvicorn
from sqlalchemy import Engine, make_url, text

from api import __main__ as program
from domain import sealing
from domain.configuration.settings import Settings
from standalone import ports
from tests import patience
from tests.api.logs import logging_to
from tests.api.servers import ApiProcess

LONGEST_SECONDS = 9.0  # of the ten, one is for Python to load
PASSWORD = "planted-database-password"


def check_refusal(code: int | None, said: str, *, expected: str) -> None:
    """It ended as a failure, with one line for people among those of the log, and without any secret."""
    for_people = [line for line in said.splitlines() if not line.startswith("{")]
    assert code == 1, said
    assert [line.startswith("botfarm: ") for line in for_people] == [True], said
    assert expected in for_people[0]
    assert "Traceback" not in said
    assert PASSWORD not in said


@pytest.fixture(scope="module", autouse=True)
def waiting(
    postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, ApiProcess]]:
    """Processes that wait for an unavailable database, while the other tests of this file run."""
    folder = tmp_path_factory.mktemp("start-up")
    settings = Settings(database_url=postgres_url, redis_url=redis_url, port=ports.free())
    url = make_url(postgres_url).set(host="127.0.0.1", password=PASSWORD)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        processes = {
            name: ApiProcess(settings, folder / f"{name}.log") for name in ("nobody listens", "nobody answers")
        }
        for process, port in zip(processes.values(), (1, silent.getsockname()[1]), strict=True):
            process.launch(DATABASE_URL=url.set(port=port).render_as_string(hide_password=False))
        yield processes
        for process in processes.values():
            process.kill()


def started(monkeypatch: pytest.MonkeyPatch, **variables: str) -> tuple[int, str]:
    """The exit code and what was said, of a program with these variables that does not get as far as serving."""
    for name in os.environ:
        if name.startswith("BOTFARM_"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(uvicorn.Server, "run", lambda _server: None)  # a program that serves would do so for ever
    said = io.StringIO()
    with logging_to(said), contextlib.redirect_stderr(said):
        return program.main(), said.getvalue()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"DATABASE_URL": f"mysql://bot:{PASSWORD}@127.0.0.1/b"},
            "DATABASE_URL: must be a postgresql:// URL, not mysql",
        ),
        ({"DATABASE_URL": PASSWORD}, "DATABASE_URL: is not a database URL"),
        ({"BOTFARM_HOST": "0.0.0.0"}, "0.0.0.0 can be reached by others: set BOTFARM_AUTH, or bind to 127.0.0.1"),
        ({"BOTFARM_HOST": "::"}, "set BOTFARM_AUTH"),
        ({"BOTFARM_HOST": "192.0.2.1"}, "set BOTFARM_AUTH"),
        ({"BOTFARM_HOST": "bots.example"}, "set BOTFARM_AUTH"),
        ({"BOTFARM_AUTH": "none"}, "BOTFARM_AUTH: "),
        ({"BOTFARM_PORT": "http"}, "BOTFARM_PORT: "),
        ({"BOTFARM_PORT": "65536"}, "BOTFARM_PORT: "),
        ({"BOTFARM_LOCK_TTL_SECONDS": "0"}, "BOTFARM_LOCK_TTL_SECONDS: "),
        (
            {"BOTFARM_LOCK_TTL_SECONDS": "100", "BOTFARM_LOCK_TTL_MAX_SECONDS": "99"},
            "botfarm: BOTFARM_LOCK_TTL_SECONDS is more than BOTFARM_LOCK_TTL_MAX_SECONDS",
        ),
        ({"BOTFARM_SECRET_KEYS_FILE": "/nowhere/secret.keys"}, "/nowhere/secret.keys"),
        ({"BOTFARM_SECRET_KEYS": f"one:{PASSWORD}"}, "sealing key 1 is not the base64 of 32 bytes"),
        ({"BOTFARM_SECRET_KEYS": PASSWORD}, "sealing key 1"),
        (
            {"DATABASE_URL": "postgresql://postgres:postgres@192.0.2.1/botfarm"},
            "the database at 192.0.2.1 has a default password",
        ),
        ({"BOTFARM_RATE_LIMIT": "often"}, "BOTFARM_RATE_LIMIT is no rate"),
        ({"BOTFARM_CORS_ORIGINS": "*"}, "BOTFARM_CORS_ORIGINS: names no origins"),
        ({"DATABASE_URL_FILE": "/nowhere/url"}, "DATABASE_URL and DATABASE_URL_FILE are both given"),
        ({"BOTFARM_LANES_FILE": "/nowhere/lanes"}, "BOTFARM_LANES_FILE cannot be read"),
    ],
    ids=str,
)
def test_invalid_settings_are_refused_with_one_clear_line(
    database_url: str, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    code, said = started(monkeypatch, **{"DATABASE_URL": database_url, **variables})

    check_refusal(code, said, expected=expected)


def test_a_key_file_that_is_open_to_others_is_refused_with_the_command_to_run(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = tmp_path / "secret.keys"
    sealing.make_file(keys)
    keys.chmod(0o604)

    code, said = started(monkeypatch, DATABASE_URL=database_url, BOTFARM_SECRET_KEYS_FILE=str(keys))

    check_refusal(code, said, expected=f"is open to others: chmod 600 {keys}")


def test_a_database_without_the_schema_is_refused_with_the_command_to_run(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The configured database may be a farm; the administrator's database of a server is not.
    bare = make_url(postgres_url).set(database="postgres").render_as_string(hide_password=False)

    code, said = started(monkeypatch, DATABASE_URL=bare, BOTFARM_AUTH="off")

    check_refusal(code, said, expected="run python -m domain migrate")


def test_a_database_that_refuses_the_login_is_reported_with_its_own_message(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "START_SECONDS", 2)  # one attempt
    url = make_url(postgres_url).set(username="nobody", password=PASSWORD)

    code, said = started(monkeypatch, DATABASE_URL=url.render_as_string(hide_password=False), BOTFARM_AUTH="off")

    check_refusal(code, said, expected="nobody")


def test_a_schema_that_is_too_old_is_refused_with_the_command_to_run(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM alembic_version"))

    code, said = started(monkeypatch, DATABASE_URL=database_url, BOTFARM_AUTH="off")

    check_refusal(code, said, expected="older than this program: run python -m domain migrate")


@pytest.mark.parametrize(
    ("name", "expected"), [("nobody listens", ":1/"), ("nobody answers", "did not answer in time")]
)
def test_a_process_without_a_usable_database_ends_in_time_with_one_clear_line(
    waiting: dict[str, ApiProcess], name: str, expected: str
) -> None:
    process = waiting[name]

    code = process.running.wait(timeout=patience.limit(60))

    check_refusal(code, process.said(), expected=expected)
    assert seconds_of_patience(process) < LONGEST_SECONDS


def seconds_of_patience(process: ApiProcess) -> float:
    """From its first word, when Python had loaded it, to its last."""
    first = datetime.fromisoformat(json.loads(process.said().splitlines()[0])["timestamp"])
    return process.log.stat().st_mtime - first.timestamp()
