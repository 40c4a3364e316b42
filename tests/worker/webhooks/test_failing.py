"""What each bad answer of a receiver leads to."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from domain.events.feed import Filter
from domain.webhooks import schedules
from domain.webhooks.schedules import DELAYS
from tests import patience
from tests.worker.farms import Farm
from tests.worker.webhooks import receivers
from tests.worker.webhooks.hooks import Hooks
from tests.worker.webhooks.receivers import Behaviour, Receiver, answering, receiving
from worker.webhooks import guarded_client

DOCUMENT = Path(__file__).parents[3] / "docs" / "webhooks.md"
SOON = timedelta(seconds=5)


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

    assert took < patience.limit(2)
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


@pytest.mark.parametrize("behave", [answering(500), receivers.hanging_up])
def test_a_sound_receiver_that_fails_takes_no_place_of_a_sound_one_any_more(
    farm: Farm, hooks: Hooks, receiver: Receiver, behave: Behaviour
) -> None:
    hooks.create(receiver.url)
    farm.change(1)
    hooks.turn()
    hooks.execute("UPDATE webhooks SET troubled = false")  # however slow this machine was
    receiver.behave = behave
    farm.change(1)

    hooks.turn()

    assert receiver.seqs == [1, 2]
    assert hooks.execute("SELECT troubled FROM webhooks")[0].troubled is True


def test_redirects_are_never_followed(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    with receiving() as elsewhere:
        receiver.behave = answering(302, Location=elsewhere.url)
        hooks.create(receiver.url)
        farm.change(1)

        hooks.turn()

        assert (receiver.seqs, elsewhere.received) == ([1], [])


def test_the_schedule_is_the_published_one() -> None:
    hours = [2, 5, 10, 14, 20, 24]
    body = f"after 5 s, 5 min, 30 min, {', '.join(map(str, hours[:-1]))} and {hours[-1]} h"

    assert [pause.total_seconds() for pause in DELAYS] == [0, 5, 300, 1_800, *(3_600 * pause for pause in hours)]
    assert body in " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    assert guarded_client.TIMEOUT_SECONDS == 15


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


def test_disabling_is_one_event_and_enabling_continues_at_the_cursor(
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
    body = receiver.received[-1].event
    assert body["type"] == "botfarm.webhook.disabled.v1"
    assert body["subject"] == f"webhooks/{webhook_id}"
    assert body["data"] == {"webhook_id": str(webhook_id), "reason": "gone", "cursor": "1-2"}
    assert "lockversion" not in body
    assert len(farm.numbered()) == 4


def test_a_receiver_that_is_gone_for_good_makes_no_loop_of_its_own_events(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    receiver.behave = answering(410)
    farm.change(1)

    for _ in range(5):
        hooks.turn()

    assert receiver.seqs == [1]
    assert len(farm.numbered()) == 2
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
        ("in an hour", 3_500, 3_601),
        (format_datetime(datetime(1999, 1, 1, tzinfo=UTC), usegmt=True), 5, 6),
    ],
)
def test_a_receiver_may_ask_for_a_longer_pause_up_to_a_day(
    farm: Farm, hooks: Hooks, receiver: Receiver, header: str, at_least: int, at_most: int
) -> None:
    if header == "in an hour":
        header = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    webhook_id = hooks.create(receiver.url)
    receiver.behave = answering(429, Retry_After=header)
    farm.change(1)

    hooks.turn()

    due = hooks.get(webhook_id).next_attempt_at
    assert due is not None
    pause = (due - hooks.deliveries(webhook_id)[0].requested_at).total_seconds()
    assert at_least <= pause < at_most


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


def test_a_secret_that_does_not_open_is_a_failure_like_any_other(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    hooks.execute("UPDATE webhooks SET secret_sealed = 'v1.gone.AAAA' WHERE id = :id", id=webhook_id)
    farm.change(1)

    hooks.turn()

    assert receiver.received == []
    assert [(d.status, d.error) for d in hooks.deliveries(webhook_id)] == [(None, "secret-unreadable")]
    assert hooks.get(webhook_id).attempt == 1
