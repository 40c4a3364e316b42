"""The duties of the loops as dramatiq actors, for runs on demand (docs/on-demand-runs.md), and webhook deliveries.

Each may run twice, late, or never without harm.
"""

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


# A whole pass takes longer than a message may run: this makes the loop of the process start one.
@dramatiq.actor(broker=broker, queue_name=QUEUE, max_retries=0)
def reseal_once() -> None:
    resealing.kick()


# Enqueued by the scheduling loop. Never retried by dramatiq: a claim without a result lapses, and the next claim of the
# webhook delivers.
@dramatiq.actor(broker=broker, queue_name=WEBHOOKS, actor_name="deliver", max_retries=0)
def deliver(webhook_id: str, claim: str) -> None:
    deliverer.deliver(webhook_id=UUID(webhook_id), claim=UUID(claim))
