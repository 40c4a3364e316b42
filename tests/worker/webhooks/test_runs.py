"""Claims and runs: who may send, and what holds when somebody else acts in the middle of it."""

import threading
import uuid

import pytest
from sqlalchemy import Engine

from domain import webhooks
from domain.sealing import KeyRing
from tests.patience import until
from tests.worker.farms import Farm
from tests.worker.webhooks import receivers
from tests.worker.webhooks.hooks import Hooks, hooks_on, meanwhile
from tests.worker.webhooks.receivers import Handler, Receiver, answering


def lapse(hooks: Hooks) -> None:
    """Let all claims and tokens have lapsed."""
    hooks.execute("UPDATE webhooks SET claimed_until = clock_timestamp() - interval '1 second' WHERE claim IS NOT NULL")


def test_what_is_claimed_is_claimed_once_until_it_lapses(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    hooks.create(receiver.url)
    farm.change(1)

    first, second = hooks.claim(), hooks.claim()
    lapse(hooks)
    third = hooks.claim()

    assert [len(claims) for claims in (first, second, third)] == [1, 0, 1]
    assert first[0].claim != third[0].claim


def test_claimers_that_race_never_claim_the_same_webhook(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    for _ in range(20):
        hooks.create(receiver.url)
    hooks.execute("UPDATE webhooks SET troubled = false")
    farm.change(1)
    hooks.claim()
    lapse(hooks)
    claimed = list[uuid.UUID]()
    barrier = threading.Barrier(8)

    def race() -> None:
        barrier.wait()
        claimed.extend(claim.webhook_id for claim in hooks.claim())

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(claimed) == len(set(claimed)) == 20


def test_a_claim_that_comes_twice_or_late_starts_nothing(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    hooks.create(receiver.url)
    farm.change(1)
    (stale,) = hooks.claim()
    lapse(hooks)
    (good,) = hooks.claim()

    for claim in (stale, good, good, stale):
        hooks.deliverer.deliver(webhook_id=claim.webhook_id, claim=claim.claim)

    assert receiver.seqs == [1]


def test_a_claim_that_comes_again_while_it_is_at_work_starts_nothing(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    hooks.create(receiver.url)
    farm.change(2)
    (claim,) = hooks.claim()

    def behave(handler: Handler) -> None:
        hooks.deliverer.deliver(webhook_id=claim.webhook_id, claim=claim.claim)
        handler.answer(200)

    receiver.behave = behave
    hooks.deliverer.deliver(webhook_id=claim.webhook_id, claim=claim.claim)

    assert receiver.seqs == [1, 2]
    assert max(received.in_flight for received in receiver.received) == 1


def test_a_run_whose_token_was_taken_notes_nothing(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(2)

    def take_over() -> None:
        lapse(hooks)
        hooks.claim()

    meanwhile(hooks, receiver, take_over)

    assert receiver.seqs == [1]
    assert hooks.deliveries(webhook_id) == []
    assert hooks.get(webhook_id).cursor.seq == 0
    lapse(hooks)
    hooks.turn()
    assert receiver.seqs == [1, 1, 2]


def test_pausing_stops_after_the_delivery_in_flight_and_resuming_goes_on_behind_it(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(3)

    meanwhile(hooks, receiver, lambda: hooks.change(webhook_id, status="paused"))
    hooks.turn()
    paused = list(receiver.seqs)
    hooks.change(webhook_id, status="active")
    hooks.turn()

    assert paused == [1]
    assert receiver.seqs == [1, 2, 3]


def test_a_cursor_that_is_moved_during_a_delivery_stays_where_it_was_moved(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(4)

    meanwhile(hooks, receiver, lambda: hooks.resume(webhook_id, after="1-3"))
    in_time = hooks.turn()
    lapse(hooks)
    hooks.turn()

    assert in_time == 0
    assert receiver.seqs == [1, 4]
    assert hooks.get(webhook_id).cursor.seq == 4


def test_a_failure_at_an_url_that_was_replaced_meanwhile_counts_for_nothing(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    with receivers.receiving() as better:
        webhook_id = hooks.create(receiver.url)
        farm.change(1)
        hooks.claim()
        lapse(hooks)

        def behave(handler: Handler) -> None:
            hooks.change(webhook_id, url=better.url)
            handler.answer(410)

        receiver.behave = behave
        hooks.turn()
        changed = hooks.get(webhook_id)
        hooks.turn()

        assert (changed.status, changed.attempt) == ("active", 0)
        assert better.seqs == [1]


def test_a_webhook_that_is_deleted_during_a_delivery_is_no_error(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(2)

    def delete() -> None:
        with hooks.engine.begin() as conn:
            webhooks.remove(conn, webhook_id=webhook_id)

    meanwhile(hooks, receiver, delete)

    assert receiver.seqs == [1]


def test_receivers_in_trouble_have_their_own_places_and_leave_the_others_theirs(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    sound = {hooks.create(receiver.url) for _ in range(3)}
    hooks.execute("UPDATE webhooks SET troubled = false")
    for _ in range(40):
        hooks.create(receiver.url)
    farm.change(1)

    claimed = {claim.webhook_id for claim in hooks.claim()}

    assert sound < claimed
    assert len(claimed) == 3 + webhooks.claiming.TROUBLED_MOST
    assert hooks.claim() == []


def test_a_slow_answer_puts_a_receiver_among_the_troubled_and_a_quick_one_takes_it_back(
    farm: Farm, engine: Engine, ring: KeyRing, receiver: Receiver
) -> None:
    hooks = hooks_on(engine, ring, timeout_seconds=5.0)
    hooks.create(receiver.url)

    def slow(handler: Handler) -> None:
        handler.receiver.closing.wait(1.1)
        handler.answer(200)

    receiver.behave = slow
    farm.change(3)
    hooks.turn()
    troubled = hooks.execute("SELECT troubled FROM webhooks")[0].troubled, list(receiver.seqs)
    receiver.behave = answering(200)

    hooks.turn()

    assert troubled == (True, [1])
    assert receiver.seqs == [1, 2, 3]
    assert hooks.execute("SELECT troubled FROM webhooks")[0].troubled is False


def test_a_run_that_is_stopped_ends_behind_the_delivery_in_flight_and_releases_its_claim(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(3)

    meanwhile(hooks, receiver, hooks.deliverer.tip.stop)

    assert receiver.seqs == [1]
    assert hooks.get(webhook_id).cursor.seq == 1
    assert hooks.execute("SELECT claim FROM webhooks")[0].claim is None


def test_a_claim_that_comes_when_the_process_stops_is_given_back_untouched(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(1)
    hooks.deliverer.tip.stop()

    assert hooks.turn() == 1

    assert receiver.seqs == []
    assert hooks.get(webhook_id).cursor.seq == 0
    assert hooks.execute("SELECT claim, claimed_until FROM webhooks")[0] == (None, None)


def test_only_the_newest_deliveries_are_kept(
    farm: Farm, hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook_id, other_id = hooks.create(receiver.url), hooks.create(receiver.url)
    farm.change(6)
    hooks.turn()
    monkeypatch.setattr(webhooks.deliveries, "KEEP", 4)

    with hooks.engine.begin() as conn:
        dropped = webhooks.prune(conn), webhooks.prune(conn)

    assert dropped == (4, 0)
    assert [d.cursor.seq for d in hooks.deliveries(webhook_id)] == [3, 4, 5, 6]
    assert [d.cursor.seq for d in hooks.deliveries(other_id)] == [3, 4, 5, 6]


def test_a_webhook_that_hangs_holds_no_connection_to_the_database(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    hooks.create(receiver.url)
    farm.change(1)
    receiver.behave = receivers.hanging
    turn = threading.Thread(target=hooks.turn)
    turn.start()
    until(lambda: receiver.received)

    assert hooks.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    turn.join()
