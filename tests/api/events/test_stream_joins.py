"""Streams that are joined, cut off and moved while events come: none lost, none twice."""

import contextlib
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from api.events import sse_frames
from api.events.subscriptions import Subscription
from api.events.tailer import Tailer
from domain.events import epochs
from tests import patience
from tests.api.events.crowds import last_cursor, make, numbers, writing
from tests.api.events.listeners import Listener, ask, listening
from tests.api.farms import Farm
from tests.api.servers import ApiProcess

READ = sse_frames.read


def late(*args: Any, **kwargs: Any) -> sse_frames.Frames:
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


def test_a_client_reads_what_others_were_sent_before_it_joined(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse_frames, "read", late)

    cursors = joined_late(served)

    assert cursors == numbers(len(cursors))


def test_a_tailer_that_skips_what_others_were_sent_before_is_found(
    served: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    join = Tailer.join

    def forgetful(self: Tailer, *args: Any, **kwargs: Any) -> None:
        join(self, *args, **kwargs)

    monkeypatch.setattr(sse_frames, "read", late)
    monkeypatch.setattr(Tailer, "join", forgetful)

    cursors = joined_late(served)

    assert cursors != numbers(len(cursors))


def test_a_subscription_that_did_not_skip_would_be_found(served: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Subscription, "skip_to", lambda _self, _seq: None)

    # Pages come at once and are ahead of the tailer, which will pass on what they held; mostly, so there are tries.
    found = any(len(set(cursors)) < len(cursors) for cursors in (joined_late(served) for _ in range(10)))

    assert found


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


def test_a_rewound_history_ends_the_stream_and_the_client_learns_why(served: Farm) -> None:
    make(served, 5)
    with listening(served.url) as listener:
        assert listener.has(5)
        with served.engine.begin() as conn:
            epochs.advance(conn, epoch=1, published_seq=3)
            epochs.start(conn, epoch=2)
        assert listener.over.wait(patience.limit(5))

    connection, answer = ask(served.url, last_event_id=listener.last_event_id)
    assert (answer.status, listener.last_event_id) == (409, "1-5")
    connection.close()


def test_an_epoch_that_begins_after_the_published_events_continues_the_stream(served: Farm) -> None:
    make(served, 3)
    with listening(served.url) as listener:
        assert listener.has(3)
        with served.engine.begin() as conn:
            epochs.advance(conn, epoch=1, published_seq=3)
            epochs.start(conn, epoch=2)
        make(served, 2)
        assert listener.has(5)

    assert listener.cursors() == ["1-1", "1-2", "1-3", "2-4", "2-5"]
