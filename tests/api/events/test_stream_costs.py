"""What streams and waiting calls cost others, and what becomes of them when others fail."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, text

from api.events import sse_response
from api.events.tailer import Tailer
from domain.configuration.settings import Settings
from domain.events import feed
from standalone.servers.postgres import Postgres
from tests import patience
from tests.api.events.crowds import last_cursor, make, numbers
from tests.api.events.listeners import Listener, ask, listening
from tests.api.farms import EVENTS, USERS, Farm, farming
from tests.api.observability.test_metrics import figures
from tests.api.servers import ApiProcess
from tests.patience import eventually

CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def test_a_client_that_reads_too_slowly_is_hung_up_on_and_goes_on_after_its_last_id(served: Farm) -> None:
    make(served, 1)
    connection, answer = ask(served.url, buffer=4_096)
    stalled = Listener()

    with listening(served.url) as other:
        for number in range(1, 21):
            make(served, 100, padding=8_000)
            assert other.has(1 + 100 * number)
        assert eventually(lambda: figures(served)[("botfarm_event_streams_dropped_total",)] == 1)
    stalled.hear(answer)  # as much as had been sent
    connection.close()
    with listening(served.url, last_event_id=stalled.last_event_id) as again:
        assert again.has(2_001 - len(stalled.events))

    assert other.cursors() == numbers(2_001)
    assert 0 < len(stalled.events) < 2_001
    assert stalled.cursors() + again.cursors() == numbers(2_001)
    assert figures(served)[("botfarm_event_streams_dropped_total",)] == 1


def test_open_streams_hold_no_database_connections_and_share_the_work(served: Farm) -> None:
    user_id = served.new_user()["id"]
    served.publish()
    with listening(served.url) as first:
        assert first.has(1)
        one = connections(served)
        with contextlib.ExitStack() as stack:
            listeners = [stack.enter_context(listening(served.url)) for _ in range(200)]
            before = figures(served)
            most = 0
            for _ in range(20):
                served.acquire(user_id)
                served.release(user_id)
                served.publish()
                most = max(most, connections(served))
            assert all(listener.has(41) for listener in listeners)
            body = figures(served)

    assert most <= one + 6  # the pool's for four reads at a time, and what makes the changes
    assert body["botfarm_event_streams_open",] == 201
    assert body["botfarm_event_streams_encoded_total",] - before["botfarm_event_streams_encoded_total",] == 40
    assert body["botfarm_event_streams_sent_total",] - before["botfarm_event_streams_sent_total",] == 40 * 201
    assert eventually(lambda: figures(served)["botfarm_event_streams_open",] == 0)


def connections(farm: Farm) -> int:
    with farm.engine.begin() as conn:
        return int(conn.execute(text(CONNECTIONS)).scalar_one())


def test_nobody_is_read_for_when_nobody_listens(served: Farm) -> None:
    with listening(served.url) as listener:
        make(served, 1)
        assert listener.has(1)
    assert eventually(lambda: figures(served)["botfarm_event_streams_open",] == 0)
    encoded = figures(served)["botfarm_event_streams_encoded_total",]

    make(served, 5)
    time.sleep(0.3)

    assert figures(served)["botfarm_event_streams_encoded_total",] == encoded == 1


def test_streams_stay_open_while_postgres_is_away_and_go_on_when_it_is_back(
    settings: Settings, own_postgres: Postgres
) -> None:
    with farming(settings.model_copy(update={"database_url": own_postgres.url()})) as farm:
        make(farm, 1)
        after = last_cursor(farm)
        with listening(farm.url, after=after) as listener:
            make(farm, 1)
            assert listener.has(1)
            own_postgres.kill()
            time.sleep(1)
            own_postgres.start()
            assert eventually(lambda: farm.client.get(EVENTS).status_code == 200)
            make(farm, 1)
            assert listener.has(2)
            assert not listener.over.is_set()

    first = int(after.removeprefix("1-")) + 1
    assert listener.cursors() == numbers(2, first=first)


def test_a_stream_that_is_catching_up_when_postgres_goes_away_waits_and_goes_on(
    settings: Settings, own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse_response, "PAGE", 1)
    monkeypatch.setattr(sse_response, "KEEP_ALIVE_SECONDS", 0.2)
    with farming(settings.model_copy(update={"database_url": own_postgres.url()})) as farm:
        after = last_cursor(farm)
        make(farm, 1_000)
        with listening(farm.url, after=after) as listener:
            assert listener.has(20)
            own_postgres.kill()
            assert eventually(lambda: listener.comments > 0)
            assert len(listener.events) < 1_000
            own_postgres.start()
            assert listener.has(1_000, seconds=60)

    assert listener.cursors() == numbers(1_000, first=int(after.removeprefix("1-")) + 1)


def test_the_end_of_the_process_ends_streams_at_once(process: ApiProcess) -> None:
    process.start()
    httpx.post(f"{process.url}{USERS}/", json={"login": "bot"})
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listening(process.url)) for _ in range(20)]

        process.running.terminate()

        assert all(listener.over.wait(patience.limit(30)) for listener in listeners)
        assert process.running.wait(timeout=patience.limit(30)) == 0
    assert "graceful shutdown exceeded" not in process.said()  # a stream that went on would be cut off
    assert "Traceback" not in process.said()


def test_a_client_that_has_stopped_reading_does_not_hold_up_the_end(served: Farm, tmp_path: Path) -> None:
    make(served, 4_000, padding=4_000)
    other = ApiProcess(served.settings, tmp_path / "other.log")
    other.start()
    try:
        stalled, _ = ask(other.url, buffer=4_096)
        time.sleep(1)

        other.running.terminate()

        assert other.running.wait(timeout=patience.limit(30)) == 0
        stalled.close()
    finally:
        other.kill()
    assert "graceful shutdown exceeded" not in other.said()


def looks_of_waiting(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often twenty calls that wait five seconds for the next event, which does not come, read the feed."""
    looks = []
    read = feed.read

    def noted(conn: Connection, **options: Any) -> feed.Page:
        looks.append(options)
        return read(conn, **options)

    monkeypatch.setattr(feed, "read", noted)
    waiting = [
        farm.meanwhile(farm.client.get, EVENTS, params={"after": "latest", "wait_seconds": 5}) for _ in range(20)
    ]
    for answer in waiting:
        assert answer.result().json() == []
    return len(looks)


def test_calls_that_wait_cost_no_query_each_while_nothing_comes(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert looks_of_waiting(served, monkeypatch) <= 40  # when it comes, and when it has waited long enough


def test_streams_that_poll_by_themselves_are_found(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_again(_self: Tailer, *_args: Any, **_kwargs: Any) -> None:
        await asyncio.sleep(0.1)

    monkeypatch.setattr(Tailer, "news", look_again)

    assert looks_of_waiting(served, monkeypatch) > 40
