"""Whatever happens to the stream: it is put right, from `events`, without a word to anybody."""

from collections.abc import Callable

import pytest
from redis.exceptions import ResponseError

from tests.worker.farms import Farm, Outsider
from tests.worker.relay.turns import settle
from worker import metrics
from worker.relay.relay import Relay
from worker.relay.stream import Stream

MakeRelay = Callable[..., Relay]


def _resyncs(kind: str) -> float:
    return float(metrics.RESYNCS.labels(kind)._value.get())


@pytest.fixture
def published(farm: Farm, relay: Relay) -> Farm:
    """A farm with 30 events, all on the stream."""
    farm.change(30)
    settle(relay)
    return farm


def test_a_deleted_stream_is_filled_again_without_a_new_event(
    published: Farm, relay: Relay, outsider: Outsider
) -> None:
    outsider.client.delete(outsider.key)

    settle(relay)

    assert outsider.entries() == published.numbered()
    assert len(outsider.entries()) == 30


def test_a_deleted_stream_gets_only_the_newest_events_that_it_is_to_keep(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    relay = make_relay(keep_count=1_000)
    farm.change(1_700)
    settle(relay)
    outsider.client.delete(outsider.key)

    settle(relay)

    assert outsider.entries() == farm.numbered()[-1_000:]


def test_a_tail_lost_in_a_failover_is_appended_again(published: Farm, relay: Relay, outsider: Outsider) -> None:
    outsider.lose(12)
    published.change(3)

    settle(relay)

    assert outsider.entries() == published.numbered()


def test_a_tail_lost_is_found_by_a_relay_that_has_just_started(
    published: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    outsider.lose(12)

    settle(make_relay())

    assert outsider.entries() == published.numbered()


@pytest.mark.parametrize("count", [1, 29, 30])
def test_entries_deleted_from_the_tail_come_back_although_the_last_id_stayed(
    count: int, published: Farm, relay: Relay, outsider: Outsider
) -> None:
    before = _resyncs("cut")
    outsider.cut(count)

    settle(relay)

    assert outsider.entries() == published.numbered()
    assert _resyncs("cut") == before + 1


def test_consumer_groups_survive_the_mending_of_a_cut_tail(published: Farm, relay: Relay, outsider: Outsider) -> None:
    outsider.client.xgroup_create(outsider.key, "readers", id="0")
    outsider.read("readers")
    outsider.cut(5)

    settle(relay)
    published.change(2)
    settle(relay)

    assert outsider.read("readers") == ["1-31", "1-32"]


def test_a_last_id_moved_by_somebody_is_moved_back(published: Farm, relay: Relay, outsider: Outsider) -> None:
    outsider.order("XSETID", outsider.key, "7-7")
    published.change(2)

    settle(relay)

    assert outsider.entries() == published.numbered()


@pytest.mark.parametrize(
    "fields",
    [
        {"hello": "world"},
        {"e": "no json"},
        {"e": '{"cursor": "1-1", "id": "x"}'},
        {"e": "[" * 100_000},
        {"e": "null"},
        {"e": b"\xff\xfe"},
        {"a": "1", "e": "{}"},
    ],
)
def test_a_foreign_entry_at_the_tail_is_removed_and_the_order_goes_on(
    fields: dict[str, str | bytes], published: Farm, relay: Relay, outsider: Outsider
) -> None:
    before = metrics.FOREIGN._value.get()
    outsider.client.xadd(outsider.key, fields)  # type: ignore[arg-type]
    published.change(3)

    settle(relay)

    assert outsider.entries() == published.numbered()
    assert metrics.FOREIGN._value.get() == before + 1


def test_a_thousand_foreign_entries_are_removed_and_counted(published: Farm, relay: Relay, outsider: Outsider) -> None:
    before = metrics.FOREIGN._value.get()
    with outsider.client.pipeline() as pipe:
        for _ in range(1_200):
            pipe.xadd(outsider.key, {"hello": "world"})
        pipe.execute()

    settle(relay)

    assert outsider.entries() == published.numbered()
    assert metrics.FOREIGN._value.get() == before + 1_200


def test_a_foreign_entry_under_the_very_next_id_is_not_taken_for_ours(
    published: Farm, relay: Relay, outsider: Outsider
) -> None:
    outsider.client.xadd(outsider.key, {"hello": "world"}, id="1-31")
    published.change(3)

    settle(relay)

    assert outsider.entries() == published.numbered()


def test_a_foreign_entry_that_repeats_our_field_is_still_foreign(
    published: Farm, relay: Relay, outsider: Outsider
) -> None:
    body = outsider.entries()[-1][1].replace('"cursor":"1-30"', '"cursor":"1-31"')
    outsider.order("XADD", outsider.key, "1-31", "e", body, "e", body)

    settle(relay)

    assert outsider.entries() == published.numbered()


def test_a_stream_of_foreign_entries_alone_is_emptied_and_filled(farm: Farm, relay: Relay, outsider: Outsider) -> None:
    for _ in range(3):
        outsider.client.xadd(outsider.key, {"hello": "world"})
    farm.change(5)

    settle(relay)

    assert outsider.entries() == farm.numbered()


def test_a_consumer_group_that_has_read_a_foreign_entry_still_gets_ours(
    published: Farm, relay: Relay, outsider: Outsider
) -> None:
    outsider.client.xgroup_create(outsider.key, "readers", id="0")
    outsider.client.xadd(outsider.key, {"hello": "world"})
    outsider.read("readers")

    settle(relay)
    published.change(2)
    settle(relay)

    assert outsider.read("readers") == ["1-31", "1-32"]


def test_a_tail_whose_event_retention_has_dropped_is_no_other_history(
    published: Farm, relay: Relay, outsider: Outsider
) -> None:
    outsider.lose(25)
    with published.engine.begin() as conn:
        conn.exec_driver_sql("DELETE FROM events WHERE seq <= 10")

    settle(relay)

    assert published.state.epoch == 1
    assert outsider.cursors() == [f"1-{n}" for n in [*range(1, 6), *range(11, 31)]]


def test_a_relay_over_a_key_of_another_type_fails_and_harms_nothing(
    farm: Farm, relay: Relay, outsider: Outsider
) -> None:
    outsider.client.set(outsider.key, "somebody else's")
    farm.change(3)
    relay.sequence()

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        relay.publish()

    assert outsider.client.get(outsider.key) == "somebody else's"
    outsider.client.delete(outsider.key)
    settle(relay)
    assert outsider.entries() == farm.numbered()


def test_a_mend_by_a_relay_that_was_slow_undoes_nothing(
    published: Farm, make_relay: MakeRelay, stream: Stream, outsider: Outsider
) -> None:
    slow, fast = make_relay(), make_relay()
    outsider.cut(5)
    batch = slow.next_batch()
    end = slow.append(batch)
    assert end is not None
    assert end.torn
    settle(fast)

    slow.resync(batch, end)
    settle(slow)

    assert outsider.entries() == published.numbered()
