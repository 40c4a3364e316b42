"""How the process serves and stops."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from sqlalchemy import text

from domain.postgres import engines
from tests import patience
from tests.api.farms import EVENTS, USERS
from tests.api.logs import lines
from tests.api.servers import ApiProcess
from tests.patience import eventually


@dataclass
class Calls:
    """Requests under way, each in a thread, with its answer once it is there."""

    url: str
    answers: list[httpx.Response] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def begin(self, method: str, path: str) -> None:
        def call() -> None:
            self.answers.append(httpx.request(method, self.url + path, timeout=patience.limit(30)))

        self.threads.append(threading.Thread(target=call))
        self.threads[-1].start()

    def statuses(self) -> list[int]:
        for thread in self.threads:
            thread.join()
        return [answer.status_code for answer in self.answers]


def new_user(process: ApiProcess, login: str) -> str:
    return str(httpx.post(f"{process.url}{USERS}/", json={"login": login}).json()["id"])


def finished(process: ApiProcess) -> int:
    """The exit code."""
    return process.running.wait(timeout=patience.limit(30))


@contextlib.contextmanager
def held(process: ApiProcess, user_id: str) -> Iterator[None]:
    """The user's row, locked by another transaction until the end of the block."""
    engine = engines.engine(process.settings.database_url, patience_seconds=30)
    with engine.begin() as conn:
        conn.execute(text("SELECT FROM users WHERE id = :id FOR UPDATE"), {"id": user_id})
        yield
    engine.dispose()


def in_flight(process: ApiProcess) -> bool:
    """Whether a request waits for a row."""
    engine = engines.engine(process.settings.database_url, patience_seconds=30)
    with engine.begin() as conn:
        waiting = conn.execute(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        ).scalar_one()
    engine.dispose()
    return bool(waiting)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_are_finished_and_the_exit_code_is_0(process: ApiProcess, number: signal.Signals) -> None:
    process.start()
    user_id, other = new_user(process, "in-flight"), new_user(process, "beside")
    calls = Calls(process.url)

    with held(process, user_id):
        calls.begin("POST", f"{USERS}/{user_id}/acquire_lock")
        assert eventually(lambda: in_flight(process))
        calls.begin("POST", f"{USERS}/{other}/acquire_lock")
        time.sleep(0.2)
        process.running.send_signal(number)
        time.sleep(0.5)

    assert calls.statuses() == [200, 200]
    assert finished(process) == 0
    assert "Traceback" not in process.said()


def test_a_stopping_process_takes_no_new_connections(process: ApiProcess) -> None:
    process.start()
    user_id = new_user(process, "stopping")
    calls = Calls(process.url)

    with held(process, user_id):
        calls.begin("POST", f"{USERS}/{user_id}/acquire_lock")
        assert eventually(lambda: in_flight(process))
        process.running.terminate()

        assert eventually(lambda: refuses(process), seconds=3)
        assert process.alive()

    assert calls.statuses() == [200]
    assert finished(process) == 0


def refuses(process: ApiProcess) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", process.settings.port), 1):
            return False
    except ConnectionRefusedError:
        return True


def test_a_long_poll_does_not_delay_a_shutdown(process: ApiProcess) -> None:
    process.start()
    calls = Calls(process.url)
    calls.begin("GET", f"{EVENTS}?wait_seconds=60")
    time.sleep(0.5)
    started = time.monotonic()

    process.running.terminate()

    assert calls.statuses() == [200]
    assert finished(process) == 0
    assert time.monotonic() - started < patience.limit(5)


def test_a_port_that_is_taken_is_a_failure(process: ApiProcess) -> None:
    with socket.create_server(("127.0.0.1", process.settings.port)):
        process.launch()

        assert finished(process) != 0
    assert "address already in use" in process.said()
    assert "Traceback" not in process.said()


def test_every_line_of_the_log_is_json_and_requests_have_their_id(process: ApiProcess) -> None:
    process.start()
    httpx.get(f"{process.url}/nowhere", headers={"X-Request-ID": "from-outside"})
    process.running.terminate()
    finished(process)

    said = lines(process.said())
    assert "authentication_off" in [line["event"] for line in said]
    assert [line["request_id"] for line in said if line.get("route") == "unknown"] == ["from-outside"]
    assert all({"event", "level", "timestamp"} <= set(line) for line in said)


def test_with_authentication_off_by_name_it_may_be_open_to_all(process: ApiProcess) -> None:
    process.launch(BOTFARM_HOST="0.0.0.0", BOTFARM_AUTH="off")

    assert eventually(process.ready, seconds=30)
    assert process.alive()
