"""What a receiver is sent, and what each of its answers leads to."""

import time
from datetime import timedelta

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook, WebhookVerificationError

from domain.events.feed import Filter
from tests import patience
from tests.worker.farms import Farm
from tests.worker.webhooks import receivers
from tests.worker.webhooks.hooks import Hooks
from tests.worker.webhooks.receivers import Receiver, answering

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

    answer = farm.numbered()
    assert [received.body.decode() for received in receiver.received] == [body for _, body in answer]
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


def test_a_new_webhook_begins_at_the_end_by_default(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    farm.change(3)
    hooks.claim()
    hooks.create(receiver.url, after="latest")
    farm.change(1)

    hooks.turn()

    assert receiver.seqs == [4]


def test_an_endless_answer_is_cut_off_and_its_status_counts(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    receiver.behave = receivers.endless
    farm.change(2)
    began = time.monotonic()

    hooks.turn()

    assert time.monotonic() - began < patience.limit(1)
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

    shown = [body for _, body in farm.numbered() if by.env != "prod" and (not by.types or "user.created" in body)]
    assert [received.body.decode() for received in receiver.received] == shown
    assert due == (1 if shown else 0)


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
