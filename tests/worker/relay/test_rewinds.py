"""A database that was set back gets a new epoch, and the stream goes on growing."""

import json
import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, make_url, text

from domain.events import epochs, feed
from domain.postgres import engines
from domain.sealing import KeyRing
from tests.worker.farms import Farm, Outsider, seqs
from tests.worker.relay.turns import settle
from worker import __main__ as command
from worker.relay.relay import Relay
from worker.relay.stream import Stream

MakeRelay = Callable[..., Relay]


@pytest.fixture
def copied(admin_engine: Engine, engine: Engine, farm: Farm, relay: Relay, ring: KeyRing) -> Iterator[Farm]:
    """A copy of the farm as it was after 20 events; the farm itself went on to 30."""
    name = f"botfarm_test_{uuid.uuid4().hex[:12]}"
    farm.change(20)
    settle(relay)
    engine.dispose()
    relay.close()
    with admin_engine.connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name} TEMPLATE {engine.url.database}"))
    farm.change(10)
    settle(relay)
    url = make_url(admin_engine.url).set(database=name).render_as_string(hide_password=False)
    copy = engines.engine(url)
    yield Farm(copy, ring)
    copy.dispose()
    with admin_engine.connect() as conn:
        conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def test_a_copy_of_the_database_is_known_by_its_incarnation_and_begins_a_new_epoch(
    copied: Farm, stream: Stream, outsider: Outsider
) -> None:
    relay = Relay(copied.engine, stream, keep_count=1_000, poll_seconds=0)
    copied.change(4)

    settle(relay)

    assert copied.state.epoch == 2
    assert outsider.cursors() == [f"1-{n}" for n in range(1, 31)] + [f"2-{n}" for n in range(21, 25)]


def test_a_restarted_relay_of_the_copy_continues_behind_the_fork(
    copied: Farm, stream: Stream, outsider: Outsider
) -> None:
    settle(Relay(copied.engine, stream, keep_count=1_000, poll_seconds=0))
    copied.change(4)

    settle(Relay(copied.engine, stream, keep_count=1_000, poll_seconds=0))

    assert outsider.cursors()[-4:] == [f"2-{n}" for n in range(21, 25)]
    assert copied.state.epoch == 2


@pytest.mark.parametrize("new_changes", [0, 4, 15])
def test_a_database_set_back_in_place_is_known_by_the_tail_of_the_stream(
    new_changes: int, farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    farm.change(30)
    settle(make_relay())
    farm.set_back(to_seq=20)
    farm.change(new_changes)

    settle(make_relay())

    assert farm.state.epoch == 2
    assert outsider.cursors()[30:] == [f"2-{n}" for n in range(21, 21 + new_changes)]
    assert outsider.entries()[30:] == farm.numbered()[20:]


def test_events_numbered_after_the_rewind_get_the_new_epoch_before_anybody_sees_them_on_the_stream(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    farm.change(30)
    settle(make_relay())
    farm.set_back(to_seq=20)
    farm.change(5)

    settle(make_relay())

    answer = [json.loads(body) for _, body in outsider.entries()[30:]]
    assert {event["epoch"] for event in answer} == {"2"}
    with farm.engine.begin() as conn:
        page = feed.read(conn, after="2-20", limit=100, by=feed.Filter())
    assert [str(event.cursor) for event in page.events] == [event["cursor"] for event in answer]


def test_a_stream_of_a_higher_epoch_than_the_database_knows_is_exceeded(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    farm.change(10)
    settle(make_relay())
    with farm.engine.begin() as conn:
        epochs.start(conn, epoch=6)
    farm.change(5)
    settle(make_relay())
    with farm.engine.begin() as conn:
        conn.execute(text("DELETE FROM epochs WHERE epoch = 6"))
        conn.execute(text("UPDATE relay_state SET epoch = 1"))
    farm.set_back(to_seq=10)
    farm.change(3)

    settle(make_relay())

    assert farm.state.epoch == 7
    assert outsider.cursors()[-3:] == ["7-11", "7-12", "7-13"]


def test_a_stream_deleted_after_a_rewind_is_filled_with_the_history_that_counts(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    farm.change(30)
    settle(make_relay())
    farm.set_back(to_seq=20)
    farm.change(5)
    relay = make_relay()
    settle(relay)
    outsider.client.delete(outsider.key)

    settle(relay)

    assert outsider.entries() == farm.numbered()
    assert seqs(outsider.cursors()) == list(range(1, 26))


def test_two_relays_that_see_the_same_rewind_raise_the_epoch_once(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    farm.change(30)
    settle(make_relay())
    farm.set_back(to_seq=20)
    farm.change(5)
    one, other = make_relay(), make_relay()
    one.sequence()
    batches = [(relay, relay.next_batch()) for relay in (one, other)]
    ends = [(relay, batch, relay.append(batch)) for relay, batch in batches]

    for relay, batch, end in ends:
        assert end is not None
        relay.resync(batch, end)

    settle(one)
    settle(other)
    assert farm.state.epoch == 2
    assert outsider.cursors()[30:] == [f"2-{n}" for n in range(21, 26)]


def test_the_first_run_notes_the_incarnation_and_raises_nothing(farm: Farm, relay: Relay) -> None:
    assert farm.incarnation() is None

    settle(relay)

    assert farm.incarnation() is not None
    assert farm.state.epoch == 1


def test_new_epoch_raises_the_epoch_by_hand_and_says_so(
    farm: Farm,
    relay: Relay,
    outsider: Outsider,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    farm.change(10)
    settle(relay)
    monkeypatch.setenv("DATABASE_URL", farm.engine.url.render_as_string(hide_password=False))

    code = command.main(["new-epoch"])

    assert code == 0
    assert capsys.readouterr().out == "epoch 2 has begun; its first event will be 2-11\n"
    farm.change(2)
    settle(relay)
    assert outsider.cursors()[-2:] == ["2-11", "2-12"]


@pytest.mark.parametrize(("above", "epoch"), [(1, 2), (2, 3), (7, 8)])
def test_new_epoch_on_a_copy_begins_one_above_those_that_were_in_use(
    above: int, epoch: int, copied: Farm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", copied.engine.url.render_as_string(hide_password=False))

    assert command.main(["new-epoch", "--above", str(above)]) == 0

    assert capsys.readouterr().out.splitlines()[-1].startswith(f"epoch {epoch} has begun")
    assert copied.state.epoch == epoch


def test_new_epoch_on_a_copy_raises_it_once(
    copied: Farm, stream: Stream, monkeypatch: pytest.MonkeyPatch, outsider: Outsider
) -> None:
    monkeypatch.setenv("DATABASE_URL", copied.engine.url.render_as_string(hide_password=False))

    assert command.main(["new-epoch"]) == 0

    settle(Relay(copied.engine, stream, keep_count=1_000, poll_seconds=0))
    assert copied.state.epoch == 2
