import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from sqlalchemy import make_url

from standalone import accounts
from standalone.errors import StandaloneError
from standalone.processes import leftovers, processes
from standalone.servers.postgres import Postgres
from tests.patience import eventually


@contextlib.contextmanager
def connected(postgres: Postgres, **changed: str) -> Iterator[psycopg2.extensions.cursor]:
    url = make_url(postgres.url())
    parameters: dict[str, Any] = {"user": url.username, "password": url.password, "host": url.host, "port": url.port}
    with contextlib.closing(psycopg2.connect(dbname=url.database, **(parameters | changed))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def asked(postgres: Postgres, statement: str) -> list[tuple[object, ...]]:
    with connected(postgres) as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One server for those who only ask."""
    server = Postgres(tmp_path_factory.mktemp("serving"))
    server.start()
    yield server
    server.remove()


def test_data_and_port_outlive_a_kill_and_a_stop(postgres: Postgres) -> None:
    postgres.start()
    port = postgres.port
    asked(postgres, "CREATE TABLE kept AS SELECT 42 AS answer")

    postgres.kill()
    postgres.start()
    after_kill = asked(postgres, "SELECT answer FROM kept")
    postgres.stop()
    postgres.start()

    assert after_kill == asked(postgres, "SELECT answer FROM kept") == [(42,)]
    assert postgres.port == port


def test_a_killed_server_leaves_no_process_behind(postgres: Postgres) -> None:
    postgres.start()
    with connected(postgres):
        family = [psutil.Process(postgres.pid), *psutil.Process(postgres.pid).children(recursive=True)]

        postgres.kill()

    assert len(family) > 3
    assert all(map(processes.gone, family))


def test_commits_are_on_disk_before_they_are_answered(serving: Postgres) -> None:
    shown = asked(serving, "SELECT current_setting('fsync'), current_setting('synchronous_commit')")

    assert shown == [("on", "on")]


def test_a_failing_statement_leaves_none_of_its_values_in_the_log(serving: Postgres) -> None:
    asked(serving, "CREATE TABLE checked (lease text CHECK (lease = ''))")

    with pytest.raises(psycopg2.IntegrityError):
        asked(serving, "INSERT INTO checked VALUES ('a-lease-id')")

    log = serving.log.read_text()
    assert "violates check constraint" in log
    assert "a-lease-id" not in log


def test_the_database_is_utf8_and_sorts_by_code_point(serving: Postgres) -> None:
    assert asked(serving, "SHOW server_encoding") == [("UTF8",)]
    assert asked(serving, "SELECT 'B' < 'a', lower('Ä')") == [(True, "ä")]


def test_other_users_of_the_machine_need_the_password(serving: Postgres) -> None:
    with (
        pytest.raises(psycopg2.OperationalError, match="password authentication failed"),
        connected(serving, password="guessed"),
    ):
        pass

    assert (serving.data_dir / "postgres.password").stat().st_mode & 0o077 == 0


def test_only_the_loopback_is_served_and_no_socket_file(serving: Postgres) -> None:
    listening = [c for c in psutil.Process(serving.pid).net_connections("all") if c.status == psutil.CONN_LISTEN]

    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
    assert asked(serving, "SHOW unix_socket_directories") == [("",)]


def test_a_stale_pid_file_that_names_a_living_process_does_not_prevent_the_start(postgres: Postgres) -> None:
    postgres.start()
    pid_file = postgres.home / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.kill()
    with bystander() as pid:
        pid_file.write_text("\n".join([str(pid), *lines[1:]]) + "\n")

        postgres.start()

    assert asked(postgres, "SELECT 1") == [(1,)]


def test_a_second_server_on_the_same_data_is_refused(
    postgres: Postgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "END_SECONDS", 0.2)
    postgres.start()

    with pytest.raises(StandaloneError, match=rf"is in use by another postgres: .*kill -INT .*{postgres.pid}"):
        Postgres(data_dir).start()

    assert asked(postgres, "SELECT 1") == [(1,)]


def test_a_start_waits_for_the_end_of_an_earlier_server(postgres: Postgres, data_dir: Path) -> None:
    postgres.start()
    os.kill(postgres.pid, signal.SIGINT)
    successor = Postgres(data_dir)

    try:
        successor.start()

        assert asked(successor, "SELECT 1") == [(1,)]
    finally:
        successor.stop()


def test_data_that_was_made_halfway_is_made_again(postgres: Postgres) -> None:
    (postgres.data_dir).mkdir()
    (postgres.home / "new").mkdir()
    (postgres.home / "new" / "PG_VERSION").write_text("18\n")

    postgres.start()

    assert asked(postgres, "SELECT 1") == [(1,)]
    assert not (postgres.home / "new").exists()


def test_data_of_another_major_version_is_refused_in_one_line(postgres: Postgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.home / "data" / "PG_VERSION").write_text("12\n")

    with pytest.raises(StandaloneError, match="was made by Postgres 12, this is 18"):
        postgres.start()


def test_data_without_its_password_is_refused_in_one_line(postgres: Postgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.data_dir / "postgres.password").unlink()

    with pytest.raises(StandaloneError, match=r"postgres\.password, which opens .* is gone"):
        postgres.start()


def test_a_taken_port_fails_with_the_reason_in_the_log_lines(postgres: Postgres, data_dir: Path) -> None:
    postgres.start()
    second = Postgres(data_dir.parent / "second", port=postgres.port)

    with pytest.raises(StandaloneError, match="Postgres ended at once") as failure:
        second.start()

    assert any("Address already in use" in line for line in failure.value.log_lines)
    second.remove()


def test_a_server_started_by_a_thread_outlives_that_thread(postgres: Postgres) -> None:
    starter = threading.Thread(target=postgres.start)
    starter.start()
    starter.join()

    with pytest.raises(psutil.TimeoutExpired):
        psutil.Process(postgres.pid).wait(timeout=0.3)
    assert asked(postgres, "SELECT 1") == [(1,)]


def test_removed_data_is_gone_wherever_it_lay(postgres: Postgres) -> None:
    postgres.start()
    home = postgres.home

    postgres.remove()

    assert not home.exists()
    assert not list(postgres.data_dir.glob("postgres*"))


def test_root_lends_the_server_to_an_unprivileged_user(serving: Postgres) -> None:
    uid = psutil.Process(serving.pid).uids().real

    assert uid == (accounts.unprivileged().uid if os.geteuid() == 0 else os.geteuid())
    assert uid != 0


@contextlib.contextmanager
def bystander() -> Iterator[int]:
    """A process of Postgres's own user that is no Postgres: to such a one the server would make way."""
    account = accounts.unprivileged() if accounts.needed() else None
    command = processes.leashed(["/bin/sleep", "60"], parting_signal=signal.SIGKILL, account=account)
    with subprocess.Popen(command, pass_fds=[processes.lifeline()]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_server_ends_when_whoever_started_it_is_killed(data_dir: Path) -> None:
    code = (
        "import pathlib, sys, time; from standalone.servers.postgres import Postgres\n"
        "server = Postgres(pathlib.Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, data_dir], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        server = psutil.Process(int(starter.stdout.readline()))

        starter.kill()

    assert eventually(lambda: processes.gone(server), seconds=10)
