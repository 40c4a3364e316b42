"""Any number of relays at once: they may only be of use."""

import threading
from collections.abc import Callable

import pytest

from tests.worker.farms import Farm, Outsider, event_ids
from tests.worker.relay.turns import settle
from worker.relay.relay import Relay

MakeRelay = Callable[..., Relay]


@pytest.mark.parametrize("relays", [2, 4])
def test_racing_relays_put_every_change_on_the_stream_once_and_in_order(
    relays: int, farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    stopping = threading.Event()
    failures: list[Exception] = []

    def relaying(relay: Relay) -> None:
        while not stopping.is_set():
            try:
                relay.sequence()
                relay.publish()
            except Exception as error:  # noqa: BLE001  -- told by the test
                failures.append(error)

    def changing(count: int) -> None:
        own = Farm(farm.engine, farm.ring)
        own.change(count)

    racers = [threading.Thread(target=relaying, args=(make_relay(),)) for _ in range(relays)]
    writers = [threading.Thread(target=changing, args=(80,)) for _ in range(6)]

    for thread in racers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    stopping.set()
    for thread in racers:
        thread.join()
    settle(make_relay())

    assert not failures
    assert outsider.cursors() == [f"1-{n}" for n in range(1, 481)]
    assert outsider.entries() == farm.numbered()
    assert len(set(event_ids(outsider.entries()))) == 480


def test_racing_relays_fill_a_deleted_stream_together(farm: Farm, make_relay: MakeRelay, outsider: Outsider) -> None:
    farm.change(3_000)
    settle(make_relay())
    outsider.client.delete(outsider.key)
    racers = [threading.Thread(target=settle, args=(make_relay(),)) for _ in range(3)]

    for thread in racers:
        thread.start()
    for thread in racers:
        thread.join()

    settle(make_relay())
    assert outsider.entries() == farm.numbered()


def test_a_relay_keeps_to_its_work_without_resyncs_while_another_does_the_same_work(
    farm: Farm, make_relay: MakeRelay, outsider: Outsider
) -> None:
    one, other = make_relay(), make_relay()
    for _ in range(5):
        farm.change(4)
        one.sequence()
        assert one.publish() == 4
        assert other.publish() == 0
        assert other.next_batch().after == one.next_batch().after
    assert len(outsider.cursors()) == 20
