"""Events as they come, as Server-Sent Events: none lost, none twice, whatever happens to the connection."""

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api import event_streams, frames, tailer
from api.subscriptions import Subscription
from api.tailer import Tailer
from domain import epochs
from domain.settings import Settings
from standalone.postgres import Postgres
from tests.api.cloudevents import faults
from tests.api.farms import EVENTS, USERS, Farm, farming
from tests.api.listeners import Listener, ask, listening
from tests.api.servers import ApiProcess, eventually
from tests.api.test_metrics import figures

READ = frames.read
COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
MANY = """
INSERT INTO outbox (user_id, lock_version, type, data, occurred_at)
SELECT gen_random_uuid(), 1, 'botfarm.user.created.v1',
    jsonb_build_object('project_id', CAST(:project_id AS text), 'env', 'stage', 'padding', repeat('x', :padding)),
    clock_timestamp()
FROM generate_series(1, :count)
"""


def make(farm: Farm, count: int, *, project_id: str | None = None, padding: int = 0) -> None:
    """So many numbered events, of a simple kind."""
    farm.execute(MANY, count=count, project_id=project_id, padding=padding)
    farm.publish()


def numbers(count: int, *, first: int = 1) -> list[str]:
    return [f"1-{number}" for number in range(first, first + count)]


@contextlib.contextmanager
def writing(farm: Farm, project_id: str | None = None) -> Iterator[None]:
    """Somebody makes events all the while: a few at a time, without a pause."""
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            make(farm, 3, project_id=project_id)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def last_cursor(farm: Farm) -> str:
    return farm.client.get(EVENTS, params={"after": "latest"}).headers["X-Cursor"]


def test_events_come_in_order_as_they_happen_in_the_promised_form(served: Farm) -> None:
    with listening(served.url) as listener:
        user_id = served.new_user()["id"]
        lease_id = served.acquire(user_id).json()["lease_id"]
        served.publish()
        assert listener.has(2)
        served.release(user_id, lease_id=lease_id)
        served.publish()
        assert listener.has(3)

    assert listener.kinds() == ["user.created", "lock.acquired", "lock.released"]
    assert listener.cursors() == numbers(3)
    assert [faults(event) for event in listener.events] == [[], [], []]
    assert listener.events == served.client.get(EVENTS).json()


def test_a_stream_begins_with_the_oldest_event_kept(served: Farm) -> None:
    make(served, 1_203)

    with listening(served.url) as listener:
        assert listener.has(1_203)

    assert listener.cursors() == numbers(1_203)
    assert listener.retry_ms


def test_latest_is_from_now_on_and_has_an_id_to_come_back_with(served: Farm) -> None:
    make(served, 3)

    with listening(served.url, after="latest") as listener:
        assert listener.last_event_id == "1-3"
        make(served, 1)
        assert listener.has(1)

    assert listener.cursors() == ["1-4"]


def test_the_last_event_id_is_where_a_client_goes_on_and_goes_before_after(served: Farm) -> None:
    make(served, 9)

    with listening(served.url, after="1-2", last_event_id="1-6") as listener:
        assert listener.has(3)
    with listening(served.url, after="1-7", last_event_id="") as other:
        assert other.has(2)

    assert listener.cursors() == ["1-7", "1-8", "1-9"]
    assert other.cursors() == ["1-8", "1-9"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": ["botfarm.lock.acquired.v1", "botfarm.lock.released.v1"]},
        {"user_id": "theirs"},
        {"project_id": "theirs"},
        {"env": "prod"},
        {"project_id": "theirs", "type": "botfarm.lock.acquired.v1"},
        {"project_id": "theirs", "env": "stage"},
        {"user_id": "theirs", "env": "prod"},
    ],
    ids=str,
)
def test_filters_let_through_the_same_live_as_in_the_feed(served: Farm, wanted: dict[str, Any]) -> None:
    one = served.new_user(project_id=str(uuid.uuid4()))
    other = served.new_user(project_id=str(uuid.uuid4()), env="prod")
    theirs = {"user_id": other["id"], "project_id": other["project_id"]}
    query = {name: theirs[name] if value == "theirs" else value for name, value in wanted.items()}

    with listening(served.url, **query) as listener:
        for user in (one, other, one, other):
            served.acquire(user["id"])
            served.publish()
            served.release(user["id"])
            served.publish()
        with listening(served.url) as everything:
            assert everything.has(10)
        expected = served.client.get(EVENTS, params=query).json()
        assert listener.has(len(expected))

    assert listener.events == expected


def test_a_filtered_stream_tells_how_far_was_looked(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tailer, "PROGRESS_SECONDS", 0.2)
    make(served, 2)

    with listening(served.url, env="nowhere") as listener:
        assert listener.silent_ids == ["1-2"]
        make(served, 5)
        assert eventually(lambda: listener.last_event_id == "1-7")
        time.sleep(2)

    assert listener.events == []
    assert listener.silent_ids == ["1-2", "1-7"]


def test_a_silent_stream_is_kept_alive(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tailer, "KEEP_ALIVE_SECONDS", 0.2)

    with listening(served.url) as listener:
        assert eventually(lambda: listener.comments >= 2)

    assert listener.events == []


@pytest.mark.parametrize(
    ("cursor", "status", "slug"),
    [
        ("1-1", 410, "cursor-too-old"),
        ("1-99", 409, "cursor-unknown"),
        ("2-4", 409, "cursor-unknown"),
        ("nonsense", 400, "cursor-malformed"),
        ("é", 400, "cursor-malformed"),
    ],
)
def test_a_cursor_that_is_no_good_is_refused_before_the_stream_opens(
    served: Farm, cursor: str, status: int, slug: str
) -> None:
    make(served, 5)
    served.execute("DELETE FROM events WHERE seq <= 3")

    for connection, answer in (ask(served.url, after=cursor), ask(served.url, last_event_id=cursor)):
        body = answer.read().decode()
        connection.close()
        assert (answer.status, slug in body) == (status, True)
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_last_event_id_is_a_cursor_and_nothing_else(served: Farm) -> None:
    connection, answer = ask(served.url, last_event_id="latest")

    assert answer.status == 400
    connection.close()


def test_who_joins_while_others_write_misses_nothing_and_gets_nothing_twice(served: Farm) -> None:
    project_id = str(uuid.uuid4())
    listeners: list[Listener] = []
    with contextlib.ExitStack() as stack, writing(served, project_id):
        for number in range(30):
            query = [{}, {"project_id": project_id}, {"type": "botfarm.user.created.v1"}][number % 3]
            listeners.append(stack.enter_context(listening(served.url, **query)))
            time.sleep(0.01 * (number % 4))
        assert listeners[-1].has(200)
        end = int(last_cursor(served).removeprefix("1-"))
        assert all(listener.has(end) for listener in listeners)

    for listener in listeners:
        assert listener.cursors() == numbers(len(listener.events))


def late(*args: Any, **kwargs: Any) -> frames.Frames:
    """A page that is old when it arrives: by then the tailer has passed on more."""
    page = READ(*args, **kwargs)
    time.sleep(0.2)
    return page


def joined_late(farm: Farm) -> list[str]:
    """What a client heard whose pages come late, while another one listens already and somebody writes."""
    with listening(farm.url, after="latest") as first, writing(farm):
        assert first.has(10)
        with listening(farm.url) as listener:
            assert listener.has(len(first.events) + 200)
    return listener.cursors()


def test_what_others_were_told_before_a_client_joined_is_read_by_it(
    served: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "read", late)

    cursors = joined_late(served)

    assert cursors == numbers(len(cursors))


def test_a_tailer_that_forgot_what_others_were_told_before_would_be_found(
    served: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = Tailer.join

    def forgetful(self: Tailer, *args: Any, **kwargs: Any) -> None:
        join(self, *args, **kwargs)

    monkeypatch.setattr(frames, "read", late)
    monkeypatch.setattr(Tailer, "join", forgetful)

    cursors = joined_late(served)

    assert cursors != numbers(len(cursors))


def test_a_subscription_that_did_not_skip_would_be_found(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "read", late)
    monkeypatch.setattr(Subscription, "skip_to", lambda _self, _seq: None)

    cursors = joined_late(served)

    assert len(set(cursors)) < len(cursors)


def test_a_client_that_is_cut_off_again_and_again_misses_nothing_and_gets_nothing_twice(served: Farm) -> None:
    heard: list[str] = []
    with writing(served):
        last_event_id = "1-0"
        for _ in range(15):
            with listening(served.url, last_event_id=last_event_id) as listener:
                listener.has(30)
            heard += listener.cursors()
            last_event_id = listener.last_event_id

    assert len(heard) >= 300
    assert heard == numbers(len(heard))


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
            told = figures(served)

    assert most <= one + 6  # the pool's for four reads at a time, and what makes the changes
    assert told["botfarm_event_streams_open",] == 201
    assert told["botfarm_event_streams_encoded_total",] - before["botfarm_event_streams_encoded_total",] == 40
    assert told["botfarm_event_streams_sent_total",] - before["botfarm_event_streams_sent_total",] == 40 * 201
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


def test_a_rewound_history_ends_the_stream_and_the_client_learns_why(served: Farm) -> None:
    make(served, 5)
    with listening(served.url) as listener:
        assert listener.has(5)
        with served.engine.begin() as conn:
            epochs.advance(conn, epoch=1, published_seq=3)
            epochs.start(conn, epoch=2)
        assert listener.over.wait(5)

    connection, answer = ask(served.url, last_event_id=listener.last_event_id)
    assert (answer.status, listener.last_event_id) == (409, "1-5")
    connection.close()


def test_an_epoch_that_begins_after_what_was_told_goes_on_in_the_same_stream(served: Farm) -> None:
    make(served, 3)
    with listening(served.url) as listener:
        assert listener.has(3)
        with served.engine.begin() as conn:
            epochs.advance(conn, epoch=1, published_seq=3)
            epochs.start(conn, epoch=2)
        make(served, 2)
        assert listener.has(5)

    assert listener.cursors() == ["1-1", "1-2", "1-3", "2-4", "2-5"]


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
    monkeypatch.setattr(event_streams, "PAGE", 1)
    monkeypatch.setattr(event_streams, "KEEP_ALIVE_SECONDS", 0.2)
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
        began = time.monotonic()

        process.running.terminate()

        assert all(listener.over.wait(5) for listener in listeners)
        ended = time.monotonic() - began
        assert process.running.wait(timeout=30) == 0
        stopped = time.monotonic() - began
    assert ended < 1.5
    assert stopped < 5
    assert "Traceback" not in process.said()


def test_a_client_that_has_stopped_reading_does_not_hold_up_the_end(served: Farm, tmp_path: Path) -> None:
    make(served, 4_000, padding=4_000)
    other = ApiProcess(served.settings, tmp_path / "other.log")
    other.start()
    try:
        stalled, _ = ask(other.url, buffer=4_096)
        time.sleep(1)
        began = time.monotonic()

        other.running.terminate()

        assert other.running.wait(timeout=30) == 0
        stopped = time.monotonic() - began
        stalled.close()
    finally:
        other.kill()
    assert stopped < 5


def test_two_processes_tell_the_same_under_the_same_ids(served: Farm, tmp_path: Path) -> None:
    other = ApiProcess(served.settings, tmp_path / "other.log")
    other.start()
    try:
        with listening(served.url) as here, listening(other.url) as there:
            for _ in range(10):
                served.new_user()
                served.publish()
            assert here.has(10)
            assert there.has(10)
        with listening(other.url, last_event_id=here.events[4]["cursor"]) as moved:
            assert moved.has(5)
    finally:
        other.kill()

    assert here.events == there.events
    assert moved.events == here.events[5:]


def commits_of_waiting(farm: Farm) -> int:
    """How many transactions twenty calls that wait for the next event cost in two seconds."""
    waiting = [
        farm.meanwhile(farm.client.get, EVENTS, params={"after": "latest", "wait_seconds": 5}) for _ in range(20)
    ]
    time.sleep(1.5)  # each connection tells its figures once a second
    before = commits(farm)
    time.sleep(2)
    cost = commits(farm) - before
    for answer in waiting:
        assert answer.result().json() == []
    return cost


def commits(farm: Farm) -> int:
    with farm.engine.begin() as conn:
        return int(conn.execute(text(COMMITS)).scalar_one())


def test_calls_that_wait_cost_no_query_each_while_nothing_comes(served: Farm) -> None:
    assert commits_of_waiting(served) < 150  # the tailer looks 20 times a second for all, and others have work too


def test_calls_that_looked_by_themselves_would_be_found(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_again(_self: Tailer, *_args: Any, **_kwargs: Any) -> None:
        await asyncio.sleep(0.1)

    monkeypatch.setattr(Tailer, "news", look_again)

    assert commits_of_waiting(served) > 200
