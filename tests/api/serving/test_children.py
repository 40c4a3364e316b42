"""Several API processes behind one port."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import Engine, text

from api.execution.pool_sizes import PoolSizes
from api.main import create_app
from api.serving import listeners
from domain.configuration.settings import Settings
from domain.postgres import engines
from tests import patience
from tests.api.events.listeners import listening
from tests.api.farms import USERS
from tests.api.logs import lines
from tests.api.servers import START_SECONDS, ApiProcess, environment
from tests.api.serving.families import Crowd, Many
from tests.patience import eventually

LOCKS = "SELECT lease_id::text, type FROM {} WHERE lease_id IS NOT NULL"
IMPATIENT = """
from api import __main__
from api.serving import child_slots, supervisor
child_slots.HANGING_CHECKS, supervisor.STOP_SECONDS = 30, 3
raise SystemExit(__main__.main())
"""


@pytest.fixture(scope="module")
def pair(fresh_settings: Callable[[], Settings], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    """Two processes for all tests that leave two behind."""
    process = ApiProcess(fresh_settings(), tmp_path_factory.mktemp("pair") / "api.log")
    try:
        yield Many(process).start()
        process.running.terminate()
        assert process.running.wait(patience.limit(30)) == 0
    finally:
        process.kill()
    assert lines(process.said()), "lines of several processes must not mix"


@pytest.fixture
def many(process: ApiProcess) -> Many:
    """Two processes of this test alone."""
    return Many(process).start()


def test_connections_that_come_at_once_are_spread_evenly(pair: Many) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(32):
            client = stack.enter_context(httpx.Client(base_url=pair.url))
            assert client.get("/livez").status_code == 200

        fewest, most = pair.connections()

    assert fewest + most >= 32
    assert most - fewest <= 4  # a beat may still count connections that have closed


def test_a_caller_that_comes_before_any_process_is_ready_is_answered_by_the_first(process: ApiProcess) -> None:
    process.launch(BOTFARM_API_WORKERS="2")
    assert eventually(lambda: "api_listening" in process.said(), seconds=START_SECONDS)
    assert "api_process_ready" not in process.said()

    answer = httpx.get(f"{process.url}/livez", timeout=patience.limit(30))

    assert answer.status_code == 200


def test_every_process_exports_the_sums_over_all_dead_ones_included(pair: Many) -> None:
    def counted() -> list[float]:
        figures = [pair.figures() for _ in range(4)]
        return [found["botfarm_http_requests_total", "GET", "unknown", "404"] for found in figures]

    def alone() -> bool:
        with contextlib.suppress(httpx.TransportError):  # a call that was handed to the one that dies
            return pair.figures()[("botfarm_api_processes",)] == 1
        return False

    for _ in range(30):
        httpx.get(f"{pair.url}/nowhere")
    assert counted() == [30] * 4
    assert pair.figures()[("botfarm_api_processes",)] == 2
    assert pair.figures()[("botfarm_postgres_up",)] == 1
    assert pair.figures()[("botfarm_lane_waiting",)] == 0
    os.kill(pair.pids()[0], signal.SIGKILL)
    assert eventually(alone)
    pair.await_two(ready=3)

    assert counted() == [30] * 4
    assert pair.figures()[("botfarm_api_processes",)] == 2


def test_a_killed_process_is_started_again_while_the_other_serves_and_no_lock_is_given_twice(pair: Many) -> None:
    ready = pair.process.said().count('"api_process_ready"')
    with Crowd(pair.url, pair.users(6)).at_work() as crowd:
        assert crowd.acts(50)
        killed = pair.pids()[0]
        os.kill(killed, signal.SIGKILL)
        assert crowd.acts(50)
        pair.await_two(ready=ready + 1)
        assert crowd.acts(50)

    assert (crowd.doubled, crowd.refused) == ([], [])
    assert doubled_beside(crowd) == crowd.user_ids[:1]
    assert killed not in pair.pids()
    (died,) = [line for line in lines(pair.process.said()) if line.get("pid") == killed and "code" in line]
    assert (died["event"], died["code"]) == ("process_died", -signal.SIGKILL)


def doubled_beside(crowd: Crowd) -> list[str]:
    """What the crowd finds when another client holds the user whose lock it gets."""
    user_id = crowd.user_ids[0]
    with httpx.Client(base_url=crowd.url) as client:
        client.post(f"{USERS}/{user_id}/release_lock", json={})
        crowd.holders[user_id] = "another client"
        crowd.cycle(client, user_id, str(uuid.uuid4()))
    return crowd.doubled


def test_a_killed_parent_leaves_no_process_and_no_port_behind(many: Many) -> None:
    children = [psutil.Process(pid) for pid in many.pids()]
    with httpx.Client(base_url=many.url) as client:
        client.get("/livez")

        many.process.kill()

        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
    for listening_ in listeners.bind("127.0.0.1", many.process.settings.port):
        listening_.close()


def test_a_shutdown_keeps_acknowledged_changes_and_ends_streams_at_once(many: Many) -> None:
    crowd = Crowd(many.url, many.users(8), persistent=False)
    with crowd.at_work(), contextlib.ExitStack() as stack:
        streams = [stack.enter_context(listening(many.url)) for _ in range(6)]
        assert crowd.acts(100)

        many.process.running.terminate()

        assert all(stream.over.wait(patience.limit(30)) for stream in streams)
        assert many.process.running.wait(timeout=patience.limit(30)) == 0
        crowd.over.set()
    assert "graceful shutdown exceeded" not in many.process.said()  # a stream that went on would be cut off
    assert lost(crowd, many.process.settings) == []
    crowd.acknowledged.append((str(uuid.uuid4()), "acquire_lock"))
    assert lost(crowd, many.process.settings) == crowd.acknowledged[-1:]  # the control
    assert "Traceback" not in many.process.said()
    assert '"process_killed"' not in many.process.said()


def lost(crowd: Crowd, settings: Settings) -> list[tuple[str, str]]:
    """What was acknowledged without being written."""
    engine = engines.engine(settings.database_url)
    statement = " UNION ALL ".join(LOCKS.format(table) for table in ("outbox", "events"))
    with engine.begin() as conn:
        written = Counter((row.lease_id, row.type) for row in conn.execute(text(statement)))
    engine.dispose()
    kinds = {"acquire_lock": "botfarm.lock.acquired.v1", "release_lock": "botfarm.lock.released.v1"}
    return [(lease, verb) for lease, verb in crowd.acknowledged if written[lease, kinds[verb]] != 1]


def test_a_process_whose_event_loop_hangs_is_replaced_and_does_not_delay_a_shutdown(process: ApiProcess) -> None:
    with process.log.open("ab") as output:
        process.popen = subprocess.Popen(
            [sys.executable, "-c", IMPATIENT],
            cwd=process.log.parent,
            env=environment(process.settings) | {"BOTFARM_API_WORKERS": "2"},
            stderr=output,
            start_new_session=True,
        )
    many = Many(process).await_two()
    hanging, sound = many.pids()

    os.kill(hanging, signal.SIGSTOP)

    assert eventually(lambda: hanging not in many.pids())
    many.await_two(ready=3)
    assert sound in many.pids()
    os.kill(sound, signal.SIGSTOP)
    os.killpg(process.running.pid, signal.SIGINT)  # as a terminal does
    assert process.running.wait(patience.limit(15)) == 0
    said = [(line["event"], line.get("pid")) for line in lines(process.said()) if line["level"] in {"error", "warning"}]
    assert [each for each in said if each[0] != "authentication_off"] == [
        ("process_hangs", hanging),
        ("process_died", hanging),
        ("process_killed", sound),
    ]


def test_the_reason_of_a_failed_start_is_reported_once(process: ApiProcess, engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM alembic_version"))

    process.launch(BOTFARM_API_WORKERS="2")

    assert process.running.wait(patience.limit(20)) == 1
    assert said_to_people(process) == [
        "botfarm: the database's schema is older than this program: run python -m domain migrate"
    ]


def test_a_port_in_use_and_too_few_connections_are_each_reported_once(process: ApiProcess) -> None:
    port = process.settings.port
    with socket.create_server(("127.0.0.1", port)):
        process.launch(BOTFARM_API_WORKERS="3", BOTFARM_POOL_SIZE="150")

        assert process.running.wait(patience.limit(20)) == 1
    assert said_to_people(process) == [f"botfarm: cannot listen on 127.0.0.1:{port}: address already in use"]
    warned = [line for line in map(str, process.said().splitlines()) if "too_few_database_connections" in line]
    assert len(warned) == 1
    assert '"processes": 3, "connections_each": 159, "wanted": 477' in warned[0]


def said_to_people(process: ApiProcess) -> list[str]:
    return [line for line in process.said().splitlines() if not line.startswith("{")]


def test_a_port_chosen_by_the_system_is_the_same_on_every_address_of_the_host() -> None:
    sockets = listeners.bind("localhost", 0)

    with contextlib.ExitStack() as stack:
        (port,) = {stack.enter_context(each).getsockname()[1] for each in sockets}
        stack.enter_context(socket.create_connection(("localhost", port)))
        assert listeners.url(sockets).endswith(f":{port}")


def test_the_reported_number_of_connections_is_that_of_the_pools(settings: Settings) -> None:
    services = create_app(settings).state.services

    pools = [engine.pool.size() for engine in services.engines]

    assert PoolSizes.of(settings).total == sum(pools)


def test_the_default_number_of_processes_is_that_of_the_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOTFARM_API_WORKERS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(3)), raising=False)
    assert Settings().api_workers == 3

    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)), raising=False)

    assert Settings().api_workers == 8
    assert Settings(api_workers=12).api_workers == 12
