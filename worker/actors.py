"""The duties of the loops, for whoever wants one done now. All may run twice, late, or never."""

import dramatiq

from worker.broker import broker, duties

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
