"""Webhooks with real workers: order, isolation, and what dies and is lost in the middle."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import redis

from domain.configuration.settings import Settings
from standalone.servers.valkey import Valkey
from tests import patience
from tests.patience import until
from tests.worker.farms import Farm
from tests.worker.webhooks import receivers
from tests.worker.webhooks.hooks import LOOPBACK, Hooks
from tests.worker.webhooks.receivers import Handler, Receiver, answering, receiving
from tests.worker.workers import working
from worker.webhooks.guarded_client import Outbound

# The ring of these tests opens what the worker shall sign with.
KEYS = {"BOTFARM_SECRET_KEYS": "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}

# The token of the process that was killed lapses in a moment, rather than in 40 s.
HASTEN = """
UPDATE webhooks SET claimed_until = clock_timestamp() + interval '1 second'
WHERE claimed_until > clock_timestamp() + interval '1 second' AND seq < 110
"""


def settle(receiver: Receiver, last: int, *, seconds: float = 20) -> None:
    """Until the receiver has had the last event."""
    until(lambda: last in receiver.seqs, seconds=seconds, what=f"the delivery of event {last}")


def once(seqs: Sequence[int]) -> list[int]:
    """Without repeats of what a process had sent, but not noted, when it died."""
    return list(dict.fromkeys(seqs))


class Changing(threading.Thread):
    """Changes made in the background, so many a second."""

    def __init__(self, farm: Farm, *, count: int, per_second: float) -> None:
        super().__init__()
        self._change, self._count, self._pause = farm.change, count, 1 / per_second

    def run(self) -> None:
        for _ in range(self._count):
            self._change(1)
            time.sleep(self._pause)


def test_changes_come_soon_in_order_and_no_secret_is_in_any_log(
    farm: Farm, hooks: Hooks, receiver: Receiver, settings: Settings, tmp_path: Path
) -> None:
    webhook_id = hooks.create(receiver.url)
    with working(settings, tmp_path, **KEYS, BOTFARM_LOG_LEVEL="DEBUG") as worker:
        farm.change(1)
        settle(receiver, 1)
        began = time.monotonic()
        farm.change(1)
        settle(receiver, 2)
        took = time.monotonic() - began
        farm.change(50)
        settle(receiver, 52)
        until(lambda: hooks.get(webhook_id).cursor.seq == 52)
        until(lambda: worker.metric("botfarm_webhooks_lag") == 0)

        assert took < patience.limit(1)
        assert receiver.seqs == list(range(1, 53))
        assert worker.metric("botfarm_webhook_deliveries_total") == 52
        assert worker.metric("botfarm_change_to_webhook_seconds_count") == 52
        assert worker.metric("botfarm_webhooks_active") == 1
        assert hooks.secrets[webhook_id] not in worker.said()
        assert hooks.secrets[webhook_id][6:] not in worker.said()
        stored = hooks.execute("SELECT d::text FROM webhook_deliveries d UNION ALL SELECT e::text FROM events e")
        assert not [row for (row,) in stored if hooks.secrets[webhook_id][6:] in row or "whsec" in row]


def test_receivers_that_hang_delay_nobody_but_themselves(
    farm: Farm, hooks: Hooks, receiver: Receiver, settings: Settings, tmp_path: Path
) -> None:
    """Sixty of them, more than there are places and threads."""
    with receiving(receivers.hanging) as dead, working(settings, tmp_path, **KEYS):
        hooks.create(receiver.url)
        for _ in range(60):
            hooks.create(dead.url)
        farm.change(1)
        settle(receiver, 1)
        until(lambda: dead.in_flight > 10)
        waits = []

        for number in range(2, 12):
            farm.change(1)
            waits.append(until(lambda n=number: n in receiver.seqs))  # type: ignore[misc]
            time.sleep(0.3)

        assert dead.in_flight > 10
        assert max(waits) < 1.5
        assert receiver.seqs == list(range(1, 12))


def test_a_receiver_that_recovers_gets_everything_in_order(
    farm: Farm, hooks: Hooks, receiver: Receiver, settings: Settings, tmp_path: Path
) -> None:
    webhook_id = hooks.create(receiver.url)
    receiver.behave = answering(500)
    with working(settings, tmp_path, **KEYS):
        changing = Changing(farm, count=40, per_second=20)
        changing.start()
        until(lambda: hooks.get(webhook_id).attempt == 1)
        changing.join()
        receiver.behave = answering(200)
        hooks.hasten(webhook_id)
        settle(receiver, 40)

    assert receiver.seqs == [1, *range(1, 41)]


def test_a_redis_that_loses_everything_delays_and_loses_nothing(
    farm: Farm, hooks: Hooks, receiver: Receiver, settings: Settings, own_valkey: Valkey, tmp_path: Path
) -> None:
    hooks.create(receiver.url)
    client = redis.Redis.from_url(own_valkey.url())
    with working(settings.model_copy(update={"redis_url": own_valkey.url()}), tmp_path, **KEYS):
        changing = Changing(farm, count=100, per_second=30)
        changing.start()
        while changing.is_alive():
            client.flushall()
            time.sleep(0.05)
        settle(receiver, 100)

    client.close()
    assert receiver.seqs == list(range(1, 101))


def test_while_redis_is_away_deliveries_wait_and_then_go_on(
    farm: Farm, hooks: Hooks, receiver: Receiver, settings: Settings, own_valkey: Valkey, tmp_path: Path
) -> None:
    hooks.create(receiver.url)
    with working(settings.model_copy(update={"redis_url": own_valkey.url()}), tmp_path, **KEYS) as worker:
        farm.change(1)
        settle(receiver, 1)
        time.sleep(1.5)
        own_valkey.kill()
        farm.change(10)
        time.sleep(2)
        own_valkey.start()
        settle(receiver, 11)

        assert receiver.seqs == list(range(1, 12))
        until(worker.is_ok)


def test_two_processes_never_send_to_one_receiver_at_once_though_one_is_killed(
    farm: Farm, hooks: Hooks, settings: Settings, tmp_path: Path
) -> None:
    def slowly(handler: Handler) -> None:
        time.sleep(0.01)
        handler.answer(200)

    with receiving(slowly) as one, receiving(slowly) as other:
        ids = [hooks.create(one.url), hooks.create(other.url)]
        with working(settings, tmp_path, **KEYS, BOTFARM_WORKER_PROCESSES="2") as worker:
            changing = Changing(farm, count=120, per_second=30)
            changing.start()
            settle(one, 30)
            os.kill(worker.pids[0], signal.SIGKILL)
            changing.join()
            hooks.execute(HASTEN)
            for receiver in (one, other):
                settle(receiver, 120)
                assert max(received.in_flight for received in receiver.received) == 1
                assert once(receiver.seqs) == list(range(1, 121))
                assert len(receiver.seqs) <= 121
            until(lambda: [hooks.get(webhook_id).cursor.seq for webhook_id in ids] == [120, 120])


def test_negative_control_a_receiver_notices_when_it_is_sent_two_at_once() -> None:
    def slowly(handler: Handler) -> None:
        time.sleep(0.2)
        handler.answer(200)

    outbound = Outbound(allowed=LOOPBACK)
    with receiving(slowly) as receiver, outbound.client() as one, outbound.client() as other:
        sent = {"headers": {}, "content": b"{}"}
        threads = [threading.Thread(target=client.post, args=(receiver.url,), kwargs=sent) for client in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert max(received.in_flight for received in receiver.received) == 2


def test_a_worker_that_is_stopped_releases_its_claims(
    farm: Farm, hooks: Hooks, receiver: Receiver, settings: Settings, tmp_path: Path
) -> None:
    hooks.create(receiver.url)
    with working(settings, tmp_path, **KEYS) as worker:
        changing = Changing(farm, count=60, per_second=60)
        changing.start()
        settle(receiver, 20)

        worker.popen.send_signal(signal.SIGTERM)
        code = worker.popen.wait(patience.limit(10))
        changing.join()

    assert code == 0
    assert hooks.execute("SELECT claim FROM webhooks")[0].claim is None
    assert hooks.execute("SELECT seq FROM webhooks")[0].seq == receiver.seqs[-1]
