"""Secrets that are exchanged, and events that somebody wants sent once more."""

import uuid
from datetime import timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from domain import webhooks
from tests.worker.farms import Farm
from tests.worker.webhooks.hooks import Hooks, meanwhile
from tests.worker.webhooks.receivers import Receiver, answering


def rotate(hooks: Hooks, webhook_id: uuid.UUID, *, overlap: timedelta) -> str:
    with hooks.engine.begin() as conn:
        return webhooks.rotate_secret(conn, webhook_id=webhook_id, ring=hooks.ring, overlap=overlap)[1]


def test_during_the_overlap_of_a_rotation_both_secrets_verify_and_after_it_the_new_one(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    old = hooks.secrets[webhook_id]
    new = rotate(hooks, webhook_id, overlap=timedelta(hours=1))
    farm.change(1)
    hooks.turn()
    hooks.execute("UPDATE webhooks SET previous_valid_until = clock_timestamp()")
    farm.change(1)
    hooks.turn()

    during, after = receiver.received

    assert len(during.headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        Webhook(secret).verify(during.body, during.headers)
    Webhook(new).verify(after.body, after.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(after.body, after.headers)


def test_a_rotation_without_overlap_ends_the_old_secret_at_once(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    new = rotate(hooks, webhook_id, overlap=timedelta(0))
    farm.change(1)

    hooks.turn()

    (received,) = receiver.received
    Webhook(new).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(hooks.secrets[webhook_id]).verify(received.body, received.headers)


def ask_again(hooks: Hooks, webhook_id: uuid.UUID, number: int) -> webhooks.Delivery:
    delivery = hooks.deliveries(webhook_id)[number]
    with hooks.engine.begin() as conn:
        return webhooks.ask_again(conn, webhook_id=webhook_id, delivery_id=delivery.id)


@pytest.mark.parametrize("status", ["active", "paused"])
def test_an_event_that_is_sent_again_has_the_same_id_and_moves_no_cursor(
    farm: Farm, hooks: Hooks, receiver: Receiver, status: str
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(3)
    hooks.turn()
    hooks.change(webhook_id, status=status)
    ask_again(hooks, webhook_id, 0)

    hooks.turn()
    hooks.turn()

    assert receiver.seqs == [1, 2, 3, 1]
    assert receiver.received[0].headers["webhook-id"] == receiver.received[3].headers["webhook-id"]
    again = hooks.deliveries(webhook_id)[-1]
    assert (again.kind, again.status, again.cursor.seq) == ("again", 204, 1)
    assert hooks.get(webhook_id).cursor.seq == 3


def test_a_failed_repeat_is_noted_and_not_retried(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(1)
    hooks.turn()
    receiver.behave = answering(410)
    ask_again(hooks, webhook_id, 0)

    hooks.turn()
    hooks.turn()

    assert receiver.seqs == [1, 1]
    assert [(d.kind, d.status) for d in hooks.deliveries(webhook_id)] == [("first", 204), ("again", 410)]
    assert (hooks.get(webhook_id).status, hooks.get(webhook_id).attempt) == ("active", 0)


def test_sending_again_does_not_hasten_what_waits_for_its_next_try(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(1)
    hooks.turn()
    receiver.behave = answering(500)
    farm.change(1)
    hooks.turn()
    waiting = hooks.get(webhook_id)
    ask_again(hooks, webhook_id, 0)

    hooks.turn()

    assert receiver.seqs == [1, 2, 1]
    assert hooks.get(webhook_id) == waiting


def test_a_rotation_in_the_middle_of_a_backlog_holds_from_the_next_delivery_on(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(3)
    new: list[str] = []

    meanwhile(hooks, receiver, lambda: new.append(rotate(hooks, webhook_id, overlap=timedelta(0))))
    hooks.turn()

    assert receiver.seqs == [1, 2, 3]
    for secret, received in zip([hooks.secrets[webhook_id], *new * 2], receiver.received, strict=True):
        Webhook(secret).verify(received.body, received.headers)
