"""What a receiver gets, and what each of its answers leads to."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from sqlalchemy import Engine
from standardwebhooks import Webhook

from domain.events import Filter
from domain.sealing import KeyRing
from domain.webhooks.schedules import DELAYS
from tests.worker import receivers
from tests.worker.farms import Farm
from tests.worker.hooks import Hooks, hooks_on
from tests.worker.receivers import Behaviour, Receiver, answering, receiving


@pytest.fixture
def hooks(engine: Engine, ring: KeyRing) -> Iterator[Hooks]:
    hooks = hooks_on(engine, ring)
    yield hooks
    hooks.deliverer.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_x(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(5)

    hooks.turn()

    assert receiver.seqs == [1, 2, 3, 4, 5]
    print(hooks.deliveries(webhook_id), hooks.get(webhook_id))
