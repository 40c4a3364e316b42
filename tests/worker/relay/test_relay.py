"""The relay without misfortunes, and dying between its steps."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, event, text

from domain.events import partitions
from domain.tables import relay_state
from tests.worker.farms import Farm, Outsider, event_ids, seqs
from tests.worker.relay.turns import settle
from worker import metrics
from worker.relay.relay import Batch, Relay
from worker.relay.stream import End, Stream

MakeRelay = Callable[..., Relay]


class Died(Exception):  # noqa: N818  -- it is what happens to the process
    pass


class DiesBeforeAppend(Relay):
    def append(self, batch: Batch) -> End | None:
        raise Died


class DiesBeforeAdvance(Relay):
    def advance(self, batch: Batch) -> None:
        raise Died


class LosesTheAnswer(Relay):
    """The append happens, but the connection breaks before Redis can say so."""

    def append(self, batch: Batch) -> End | None:
        super().append(batch)
        raise Died


def test_every_change_comes_to_the_stream_once_in_order_and_word_for_word(
    farm: Farm, relay: Relay, outsider: Outsider
) -> None:
    farm.change(1_234)

    settle(relay)

    assert outsider.entries() == farm.numbered()
    assert outsider.cursors() == [f"1-{n}" for n in range(1, 1_235)]
    assert farm.state.published_seq == farm.state.last_seq == 1_234


def test_an_entry_is_a_cloudevent_whose_cursor_is_the_id_of_the_entry(
    farm: Farm, relay: Relay, outsider: Outsider
) -> None:
    (user_id,) = farm.grow()
    grant = farm.acquire(user_id)

    settle(relay)

    cursor, body = outsider.entries()[-1]
    answer = json.loads(body)
    assert (answer["cursor"], answer["sequence"], answer["epoch"]) == (cursor, "00000000000000000002", "1")
    assert answer["type"] == "botfarm.lock.acquired.v1"
    assert answer["data"]["token"] == answer["lockversion"] == 2
    assert str(grant.lease_id) not in body


def test_a_turn_is_a_look_a_read_and_an_update_and_numbering_only_a_look_while_nothing_waits(
    engine: Engine, single: Engine, farm: Farm, relay: Relay
) -> None:
    farm.change(1)
    settle(relay)
    said: list[str] = []
    numbering: list[str] = []
    publishing: list[str] = []
    for each, name in ((engine, "in a transaction"), (single, "alone")):
        event.listen(each, "before_cursor_execute", lambda *_, name=name: said.append(name))

    for changes in (0, 20):
        farm.change(changes)
        said.clear()
        relay.sequence()
        numbering.append(", ".join(said))
        said.clear()
        relay.publish()
        publishing.append(", ".join(said))

    assert numbering == ["alone", "alone, in a transaction, in a transaction"]
    assert publishing == ["alone", "alone, alone, alone"]


def test_a_rolled_back_change_has_no_event_and_leaves_no_gap(
    engine: Engine, farm: Farm, relay: Relay, outsider: Outsider
) -> None:
    farm.change(3)
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO outbox (type, data, occurred_at) VALUES ('x', '{}', now())"))
        conn.rollback()
    farm.change(3)

    settle(relay)

    assert outsider.cursors() == [f"1-{n}" for n in range(1, 7)]


def test_sequencing_goes_on_while_redis_is_away(engine: Engine, farm: Farm) -> None:
    nowhere = Stream("redis://127.0.0.1:1/0", prefix="x:")
    relay = Relay(engine, nowhere, keep_count=1_000)
    farm.change(10)

    relay.sequence()

    assert farm.state.last_seq == 10
    assert len(farm.numbered()) == 10


def test_numbers_that_outrun_the_partitions_make_one(
    engine: Engine, farm: Farm, relay: Relay, outsider: Outsider
) -> None:
    with engine.begin() as conn:
        known = partitions.known(conn)
        end_seq = known[-1].end_seq
        conn.execute(relay_state.update().values(last_seq=end_seq - 3, published_seq=end_seq - 3))
    farm.change(6)

    settle(relay)

    assert seqs(outsider.cursors()) == list(range(end_seq - 2, end_seq + 4))
    with engine.begin() as conn:
        assert len(partitions.known(conn)) > len(known)


@pytest.mark.parametrize("kind", [DiesBeforeAppend, DiesBeforeAdvance, LosesTheAnswer])
def test_a_relay_that_dies_between_two_steps_leaves_nothing_lost_and_nothing_twice(
    kind: type[Relay], farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    farm.change(700)
    dying = make_relay(kind)
    dying.sequence()
    with pytest.raises(Died):
        dying.publish()
    farm.change(50)

    settle(make_relay())

    assert outsider.entries() == farm.numbered()
    assert farm.state.published_seq == 750


def test_a_relay_that_dies_right_after_sequencing_has_numbered_all_or_nothing(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    farm.change(20)
    make_relay().sequence()
    farm.change(20)

    settle(make_relay())

    assert outsider.cursors() == [f"1-{n}" for n in range(1, 41)]


def test_a_batch_of_which_only_the_first_half_was_appended_is_completed(
    farm: Farm, make_relay: MakeRelay, stream: Stream, outsider: Outsider
) -> None:
    farm.change(40)
    relay = make_relay()
    relay.sequence()
    batch = relay.next_batch()
    stream.append(batch.events[:17], after=batch.after)

    settle(relay)

    assert outsider.entries() == farm.numbered()


def test_a_batch_is_appended_whole_or_not_at_all_when_another_was_faster(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    slow, fast = make_relay(), make_relay()
    farm.change(10)
    slow.sequence()
    batch = slow.next_batch()
    farm.change(10)
    settle(fast)

    end = slow.append(batch)

    assert end is not None
    assert end.last_id == "1-20"
    assert len(outsider.entries()) == 20
    assert len(set(event_ids(outsider.entries()))) == 20


def test_the_watermark_never_goes_back_behind_what_a_faster_relay_noted(farm: Farm, make_relay: MakeRelay) -> None:
    slow, fast = make_relay(), make_relay()
    farm.change(10)
    slow.sequence()
    batch = slow.next_batch()
    slow.append(batch)
    farm.change(10)
    settle(fast)

    slow.advance(batch)

    assert farm.state.published_seq == 20


def test_the_stream_is_trimmed_to_the_newest_events(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider, engine: Engine
) -> None:
    relay = make_relay(keep_count=300)
    farm.change(1_000)
    settle(relay)

    relay.trim()

    kept = seqs(outsider.cursors())
    assert kept[-1] == 1_000
    assert 300 <= len(kept) < 450  # whole nodes of 100 entries
    assert kept == list(range(kept[0], 1_001))


def _latency() -> tuple[float, float]:
    """How many events the histogram has, and the sum of their seconds."""
    samples = {sample.name: sample.value for metric in metrics.LATENCY.collect() for sample in metric.samples}
    name = "botfarm_change_to_stream_seconds"
    return samples[f"{name}_count"], samples[f"{name}_sum"]


def test_the_way_from_change_to_stream_is_measured_once_from_the_time_of_the_change(
    engine: Engine, farm: Farm, relay: Relay, outsider: Outsider
) -> None:
    count, seconds = _latency()
    farm.change(3)
    with engine.begin() as conn:
        conn.execute(text("UPDATE outbox SET occurred_at = occurred_at - interval '1 hour'"))

    settle(relay)
    measured = _latency()
    outsider.client.delete(outsider.key)
    settle(relay)

    assert measured[0] == count + 3
    assert 3 * 3_600 <= measured[1] - seconds < 3 * 3_700
    assert outsider.entries() == farm.numbered()
    assert _latency() == measured  # what is put back was measured before
