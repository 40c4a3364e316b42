"""What a receiver is sent, and what each of its answers leads to."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook, WebhookVerificationError

from domain.events import Filter
from domain.webhooks import schedules
from domain.webhooks.schedules import DELAYS
from tests.worker import receivers
from tests.worker.farms import Farm
from tests.worker.hooks import Hooks
from tests.worker.receivers import Behaviour, Receiver, answering, receiving

SOON = timedelta(seconds=5)


def test_events_come_in_order_each_once_over_one_connection(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(12)

    hooks.turn()
    hooks.turn()

    assert receiver.seqs == list(range(1, 13))
    assert receiver.connections == 1
    assert hooks.get(webhook_id).cursor.seq == 12
    assert [(d.kind, d.attempt, d.status) for d in hooks.deliveries(webhook_id)] == [("first", 1, 204)] * 12


def test_every_request_verifies_and_its_body_is_the_cloudevent_of_the_feed(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(4)

    hooks.turn()

    told = farm.told()
    assert [received.body.decode() for received in receiver.received] == [body for _, body in told]
    for received in receiver.received:
        Webhook(hooks.secrets[webhook_id]).verify(received.body, received.headers)
        event = from_http_event(HTTPMessage(received.headers, received.body), JSONFormat())
        assert event.get_id() == received.headers["webhook-id"]
        assert received.headers["content-type"] == "application/cloudevents+json"


def test_negative_control_another_secret_or_an_altered_body_does_not_verify(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id, other_id = hooks.create(receiver.url), hooks.create("http://127.0.0.1:1/")
    farm.change(1)

    hooks.turn()

    (received,) = receiver.received
    with pytest.raises(WebhookVerificationError):
        Webhook(hooks.secrets[other_id]).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(hooks.secrets[webhook_id]).verify(received.body + b" ", received.headers)


def test_a_new_webhook_begins_at_the_end_unless_told_otherwise(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    farm.change(3)
    hooks.claim()
    hooks.create(receiver.url, after="latest")
    farm.change(1)

    hooks.turn()

    assert receiver.seqs == [4]


FAILURES: list[tuple[Behaviour, int | None, str | None]] = [
    (answering(500, b"oops"), 500, None),
    (answering(404), 404, None),
    (answering(301, Location="/elsewhere"), 301, None),
    (answering(307, Location="http://127.0.0.1:1/"), 307, None),
    (receivers.hanging, None, "timeout"),
    (receivers.dribbling, 200, "timeout"),
    (receivers.dribbling_headers, None, "timeout"),
    (receivers.hanging_up, None, "bad-answer"),
    (receivers.garbage, None, "bad-answer"),
]


@pytest.mark.parametrize(("behave", "status", "error"), FAILURES)
def test_a_receiver_that_fails_is_sent_the_same_event_again_before_any_other(
    farm: Farm, hooks: Hooks, receiver: Receiver, behave: Behaviour, status: int | None, error: str | None
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(3)
    receiver.behave = behave
    began = time.monotonic()
    hooks.turn()
    took = time.monotonic() - began
    failing = hooks.get(webhook_id)
    receiver.behave = answering(200, b"well")

    nothing_yet = hooks.turn()
    hooks.hasten(webhook_id)
    hooks.turn()

    assert took < 2
    assert (failing.attempt, failing.cursor.seq, nothing_yet) == (1, 0, 0)
    assert failing.next_attempt_at is not None
    assert SOON * 0.9 < failing.next_attempt_at - hooks.deliveries(webhook_id)[0].requested_at < SOON * 2
    assert receiver.seqs == [1, 1, 2, 3]
    assert len({received.headers["webhook-id"] for received in receiver.received[:2]}) == 1
    first, *others = hooks.deliveries(webhook_id)
    assert (first.status, (first.error or "").partition(":")[0] or None) == (status, error)
    assert [(d.kind, d.attempt, d.status, d.answer) for d in others] == [
        ("retry", 2, 200, "well"),
        ("first", 1, 200, "well"),
        ("first", 1, 200, "well"),
    ]


def test_redirects_are_never_followed(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.behave = answering(302, Location=elsewhere.url)
        hooks.create(receiver.url)
        farm.change(1)

        hooks.turn()

        assert (receiver.seqs, elsewhere.received) == ([1], [])


def test_an_endless_answer_is_cut_off_and_its_status_counts(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    receiver.behave = receivers.endless
    farm.change(2)
    began = time.monotonic()

    hooks.turn()

    assert time.monotonic() - began < 1
    assert receiver.seqs == [1, 2]
    assert {(d.status, d.error, d.answer) for d in hooks.deliveries(webhook_id)} == {(200, None, "y" * 1_024)}


def test_an_answer_that_no_database_could_store_is_kept_as_far_as_it_goes(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    receiver.behave = answering(200, b"\x00\xff\xfeok")
    farm.change(1)

    hooks.turn()

    assert [d.answer for d in hooks.deliveries(webhook_id)] == ["\ufffd\ufffd\ufffdok"]


def test_every_pause_of_the_schedule_is_kept_and_after_the_last_try_the_webhook_is_disabled(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    receiver.behave = answering(503)
    farm.change(2)
    pauses = []

    for _ in DELAYS[1:]:
        assert hooks.turn() == 1
        failing = hooks.get(webhook_id)
        assert failing.next_attempt_at is not None
        pauses.append(failing.next_attempt_at - hooks.deliveries(webhook_id)[-1].requested_at)
        hooks.hasten(webhook_id)
    hooks.turn()

    ended = hooks.get(webhook_id)
    assert [pause >= planned for pause, planned in zip(pauses, DELAYS[1:], strict=True)] == [True] * 9
    assert all(
        pause < planned * (1 + schedules.JITTER) + SOON for pause, planned in zip(pauses, DELAYS[1:], strict=True)
    )
    assert (ended.status, ended.status_reason, ended.cursor.seq) == ("disabled", "retries-exhausted", 0)
    assert receiver.seqs == [1] * 10
    assert hooks.turn() == 0


def test_a_disabling_is_told_by_one_event_and_enabling_goes_on_where_it_stood(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(2)
    hooks.turn()
    receiver.behave = answering(410)
    farm.change(1)

    for _ in range(3):
        hooks.turn()
    disabled = hooks.get(webhook_id)
    receiver.behave = answering(200)
    hooks.resume(webhook_id)
    hooks.turn()

    assert (disabled.status, disabled.status_reason, disabled.cursor.seq) == ("disabled", "gone", 2)
    assert receiver.seqs == [1, 2, 3, 3, 4]
    told = receiver.received[-1].event
    assert told["type"] == "botfarm.webhook.disabled.v1"
    assert told["subject"] == f"webhooks/{webhook_id}"
    assert told["data"] == {"webhook_id": str(webhook_id), "reason": "gone", "cursor": "1-2"}
    assert "lockversion" not in told
    assert len(farm.told()) == 4


def test_a_receiver_that_is_gone_for_good_makes_no_loop_of_its_own_events(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    receiver.behave = answering(410)
    farm.change(1)

    for _ in range(5):
        hooks.turn()

    assert receiver.seqs == [1]
    assert len(farm.told()) == 2
    assert hooks.get(webhook_id).status == "disabled"


@pytest.mark.parametrize(
    ("header", "at_least", "at_most"),
    [
        ("600", 600, 601),
        ("2", 5, 6),
        ("999999999", 86_400, 86_401),
        ("-5", 5, 6),
        ("soon", 5, 6),
        ("99999999999999999999", 5, 6),
        (format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 3_500, 3_601),
        (format_datetime(datetime(1999, 1, 1, tzinfo=UTC), usegmt=True), 5, 6),
    ],
)
def test_a_receiver_may_ask_for_a_longer_pause_up_to_a_day(
    farm: Farm, hooks: Hooks, receiver: Receiver, header: str, at_least: int, at_most: int
) -> None:
    webhook_id = hooks.create(receiver.url)
    receiver.behave = answering(429, Retry_After=header)
    farm.change(1)

    hooks.turn()

    due = hooks.get(webhook_id).next_attempt_at
    assert due is not None
    pause = (due - hooks.deliveries(webhook_id)[0].requested_at).total_seconds()
    assert at_least <= pause < at_most


def test_a_filtered_webhook_is_sent_what_matches_and_its_cursor_passes_the_rest_without_a_delivery(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    one, other = farm.grow(2)
    by = Filter(types=["botfarm.lock.acquired.v1"], user_id=one)
    webhook_id = hooks.create(receiver.url, by=by)
    farm.acquire(other)
    farm.acquire(one)
    farm.change(600)

    hooks.turn()
    hooks.turn()

    assert receiver.seqs == [4]
    assert len(hooks.deliveries(webhook_id)) == 1
    assert hooks.get(webhook_id).cursor.seq > 500


@pytest.mark.parametrize(
    "by",
    [
        Filter(types=["botfarm.user.created.v1", "botfarm.user.deleted.v1"]),
        Filter(env="stage"),
        Filter(env="prod"),
        Filter(types=["botfarm.user.created.v1"], env="stage"),
    ],
)
def test_what_is_found_due_is_what_the_feed_shows_under_the_same_filter(
    farm: Farm, hooks: Hooks, receiver: Receiver, by: Filter
) -> None:
    farm.change(5)
    hooks.create(receiver.url, by=by)

    due = hooks.turn()

    shown = [body for _, body in farm.told() if by.env != "prod" and (not by.types or "user.created" in body)]
    assert [received.body.decode() for received in receiver.received] == shown
    assert due == (1 if shown else 0)


def test_an_event_that_retention_has_overtaken_disables_the_webhook_and_resuming_wants_a_place(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url, by=Filter(env="nowhere"))
    farm.change(4)
    hooks.claim()
    hooks.execute("DELETE FROM events WHERE seq <= 2")

    hooks.turn()
    disabled = hooks.get(webhook_id)
    resumed = hooks.resume(webhook_id, after="latest")

    assert (disabled.status, disabled.status_reason) == ("disabled", "cursor-too-old")
    assert (resumed.status, str(resumed.cursor)) == ("active", "1-4")


def test_a_raised_epoch_moves_no_cursor(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(2)
    hooks.turn()
    hooks.execute("INSERT INTO epochs VALUES (2, 2)")
    hooks.execute("UPDATE relay_state SET epoch = 2")
    hooks.execute("UPDATE events SET epoch = 2 WHERE seq >= 2")
    farm.change(1)

    hooks.turn()

    assert [received.event["cursor"] for received in receiver.received] == ["1-1", "1-2", "2-3"]
    assert str(hooks.get(webhook_id).cursor) == "2-3"


def test_a_secret_that_does_not_open_is_a_failure_like_any_other(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    hooks.execute("UPDATE webhooks SET secret_sealed = 'v1.gone.AAAA' WHERE id = :id", id=webhook_id)
    farm.change(1)

    hooks.turn()

    assert receiver.received == []
    assert [(d.status, d.error) for d in hooks.deliveries(webhook_id)] == [(None, "secret-unreadable")]
    assert hooks.get(webhook_id).attempt == 1
