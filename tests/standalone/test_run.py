"""`python -m standalone` as its users meet it: the real API, worker, Postgres and Valkey."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from standalone import ports
from standalone.processes import leftovers
from standalone.servers.postgres import Postgres
from standalone.servers.valkey import Valkey
from tests import patience
from tests.patience import eventually
from tests.standalone.runs import Run, gone, permissions

Start = Callable[..., Run]
FREE_PORTS = ("--ephemeral", "--port", "0")


def answered(url: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
    parts = urlsplit(url)
    headers = {} if body is None else {"Content-Type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=patience.limit(10))) as connection:
        connection.request(method, parts.path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def locked(told: dict[str, Any], login: str) -> dict[str, Any]:
    """A new user with its lock taken."""
    users = f"{told['api_url']}/api/v1/users/"
    status, user = answered(users, "POST", {"login": login, "password": "secret"})
    assert status == 201
    status, user = answered(f"{users}{user['id']}/acquire_lock", "POST")
    assert status == 200
    return dict(user)


def test_everything_answers_and_nothing_is_left_after_sigterm(run: Start) -> None:
    standalone = run(*FREE_PORTS)
    body = standalone.ready()
    family = standalone.family()
    folder = standalone.data_dir()

    user = locked(body, "bot")
    worker_status, _ = answered(f"{body['worker_url']}/health")
    standalone.popen.terminate()
    code, out, err = standalone.end()

    assert user["password"] == "secret"
    assert worker_status == 200
    assert set(body["pids"]) == {"standalone", "postgres", "valkey", "api", "worker"}
    assert all(body["pids"].values())
    assert (code, err) == (0, "")
    assert re.findall(r"stopping (\w+) … ok", out) == ["api", "worker", "Valkey", "Postgres"]
    assert all(map(gone, family))
    assert not folder.exists()
    assert not standalone.ready_file.exists()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the calls that are shown are curl's, and there is none here")
def test_the_calls_that_are_shown_work_as_pasted(standing: Run) -> None:
    assert standing.popen.stdout is not None
    shown = "".join(iter(standing.popen.stdout.readline, "Ctrl-C stops everything.\n"))
    calls = shown[shown.index("  api=") :]

    pasted = subprocess.run(
        ["/bin/sh", "-c", calls], capture_output=True, text=True, timeout=patience.limit(30), check=True
    )

    acquired, released = map(json.loads, pasted.stdout.splitlines())
    assert acquired["lock"]["owner"] == "anonymous"
    assert released["released"] is True


def test_a_second_run_on_the_same_data_is_refused_in_one_line(run: Start, standing: Run) -> None:
    data_dir = standing.data_dir()

    code, out, err = run("--data-dir", str(data_dir), "--port", "0").end()

    assert (code, out) == (1, "")
    assert err == (
        f"botfarm: Botfarm already runs on {data_dir} (process {standing.popen.pid}): "
        "stop it, or choose another --data-dir\n"
    )
    assert answered(f"{standing.ready_file_content()['api_url']}/readyz")[0] == 200


def test_the_password_of_postgres_is_for_the_owner_only_and_never_shown(standing: Run) -> None:
    private = [standing.ready_file, *(standing.data_dir() / name for name in ("postgres.password", "secret.keys"))]

    assert [file.stat().st_mode & 0o077 for file in private] == [0, 0, 0]
    command_lines = " ".join(" ".join(psutil.Process(pid).cmdline()) for pid in standing.family())
    assert private[1].read_text() not in command_lines


def test_no_folder_it_found_changes_its_permissions(standing: Run) -> None:
    closed, home = (
        standing.data_dir().parent,
        Path(psutil.Process(standing.ready_file_content()["pids"]["postgres"]).cwd()).parent,
    )

    assert permissions(standing.found) == standing.found
    assert closed.stat().st_mode & 0o777 == 0o700
    assert home.is_relative_to(closed) == (os.geteuid() != 0)


def test_a_run_killed_with_9_leaves_no_process_and_the_next_one_finds_the_data(run: Start, data_dir: Path) -> None:
    arguments = ("--data-dir", str(data_dir), "--port", str(ports.free()))
    first = run(*arguments)
    body = first.ready()
    user = locked(body, "bot")
    calls = f"{body['api_url']}/api/v1/users/{user['id']}"
    family = first.family()

    first.popen.kill()
    second = run(*arguments)  # at once: it waits for the end of the first one's parts
    assert eventually(lambda: all(map(gone, family)), seconds=leftovers.END_SECONDS / 2)
    assert second.ready()["api_url"] == body["api_url"]

    assert answered(calls)[1]["lock"]["token"] == user["lock"]["token"]
    assert answered(f"{calls}/release_lock", "POST", {"lease_id": user["lease_id"]})[1]["released"] is True
    assert answered(f"{calls}/acquire_lock", "POST")[1]["password"] == "secret"


def test_parts_that_die_are_started_again_on_their_ports(run: Start) -> None:
    standalone = run(*FREE_PORTS)
    body = standalone.ready()
    user = locked(body, "bot")

    for role in ("postgres", "valkey", "worker", "api"):
        os.kill(body["pids"][role], signal.SIGKILL)

    def restarted() -> bool:
        pids = standalone.ready_file_content()["pids"]
        return all(pids[role] not in {None, body["pids"][role]} for role in ("postgres", "valkey", "worker", "api"))

    def answer() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return {answered(f"{body['api_url']}/readyz")[0], answered(f"{body['worker_url']}/health")[0]} == {200}
        return False

    assert eventually(restarted, seconds=30)
    assert eventually(answer, seconds=30)
    status, found = answered(f"{body['api_url']}/api/v1/users/{user['id']}")
    assert (status, found["lock"]["token"]) == (200, user["lock"]["token"])


def test_a_part_that_dies_for_good_ends_everything_with_1_and_its_log(run: Start) -> None:
    standalone = run(*FREE_PORTS)
    body = standalone.ready()
    family = standalone.family()

    def killed_again() -> bool:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(standalone.ready_file_content()["pids"]["api"] or body["pids"]["api"], signal.SIGKILL)
        return standalone.popen.poll() is not None

    assert eventually(killed_again, seconds=60)
    code, out, err = standalone.end()

    assert code == 1
    assert out.count("api died (killed by SIGKILL)") == 5
    assert re.search(
        r"^botfarm: api died for good: 6 times within 60 s \(killed by SIGKILL\); its log is .*api\.log$",
        err,
        re.MULTILINE,
    )
    assert all(map(gone, family))
    assert not standalone.ready_file.exists()


def test_a_port_asked_for_by_name_that_is_taken_ends_the_start_in_one_line(run: Start) -> None:
    with socket.create_server((ports.LOOPBACK, ports.free())) as server:
        port = server.getsockname()[1]
        code, out, err = run("--ephemeral", "--port", str(port)).end()

    assert (code, out) == (1, "")
    assert err == (
        f"botfarm: cannot listen on 127.0.0.1:{port}: address already in use (choose another --port, 0 for any)\n"
    )


def test_a_database_that_does_not_answer_ends_the_start_within_ten_seconds(run: Start) -> None:
    code, out, err = run(*FREE_PORTS, DATABASE_URL=f"postgresql://me:hidden@127.0.0.1:{ports.free()}/none").end()

    assert code == 1
    assert float(re.findall(r"migrating the database … failed after (\S+) s", out)[0]) < 10
    assert err.startswith("botfarm: cannot migrate postgresql+psycopg2://me:***@127.0.0.1")
    assert err.count("\n") == 1
    assert "stopping Valkey … ok" in out


def test_servers_that_the_environment_names_are_used_as_they_are(
    run: Start, postgres: Postgres, valkey: Valkey, tmp_path: Path
) -> None:
    postgres.start()
    valkey.start()
    standalone = run(
        *FREE_PORTS, DATABASE_URL=postgres.url(), REDIS_URL=valkey.url(), TMPDIR=str(tmp_path), PATH=os.environ["PATH"]
    )

    body = standalone.ready()
    locked(body, "bot")
    standalone.popen.terminate()
    code, out, _ = standalone.end()

    assert code == 0
    assert (body["database_url"], body["redis_url"]) == (postgres.url(), valkey.url())
    assert (body["pids"]["postgres"], body["pids"]["valkey"]) == (None, None)
    assert postgres.alive
    assert valkey.alive
    assert postgres.url() not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_start_stops_what_has_begun(run: Start, number: signal.Signals) -> None:
    standalone = run(*FREE_PORTS)
    assert eventually(lambda: any(map(is_postgres, psutil.Process(standalone.popen.pid).children())), seconds=30)
    family = standalone.family()

    standalone.popen.send_signal(number)
    code, out, err = standalone.end()

    assert (code, err) == (0, "")
    assert f"{number.name}: stopping everything" in out
    assert "stopping Postgres … ok" in out
    assert all(map(gone, family))


def is_postgres(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name() == "postgres"
    return False
