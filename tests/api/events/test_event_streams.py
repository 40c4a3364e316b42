"""Events as they come, as Server-Sent Events: what is told, to whom, from where."""

import time
import uuid
from typing import Any

import pytest

from api.events import tailer
from tests.api.events.cloudevents import faults
from tests.api.events.crowds import make, numbers
from tests.api.events.listeners import ask, listening
from tests.api.farms import EVENTS, Farm
from tests.patience import eventually


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


def test_a_filtered_stream_says_how_far_it_has_read(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
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
