"""The duties of the loops, for whoever wants one done now. All may run twice, late, or never; so may a delivery."""

from uuid import UUID

import dramatiq

from worker.broker import WEBHOOKS, broker, deliverer, duties, resealing

QUEUE = "botfarm"


@dramatiq.actor(broker=broker, queue_name=QUEUE, max_retries=0)
def relay_once() -> None:
    duties.sequence()


@dramatiq.actor(broker=broker, queue_name=QUEUE, max_retries=0)
def sweep_expired() -> None:
    duties.expire()


@dramatiq.actor(broker=broker, queue_name=QUEUE, max_retries=0)
def sweep_line() -> None:
    duties.sweep_line()


@dramatiq.actor(broker=broker, queue_name=QUEUE)
def retention_once() -> None:
    duties.retain()


# A whole pass takes longer than a message may: this lets the loop of this process begin one.
@dramatiq.actor(broker=broker, queue_name=QUEUE, max_retries=0)
def reseal_once() -> None:
    resealing.kick()


# Never tried again by dramatiq: a claim that came to nothing lapses, and the webhook is claimed anew.
@dramatiq.actor(broker=broker, queue_name=WEBHOOKS, actor_name="deliver", max_retries=0)
def deliver(webhook_id: str, claim: str) -> None:
    deliverer.deliver(webhook_id=UUID(webhook_id), claim=UUID(claim))
