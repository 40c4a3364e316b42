"""Receivers that break the protocol harm nobody but themselves, and whatever they answer, the schedule moves."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import httpcore
import pytest
from sqlalchemy import Engine

from domain.sealing import KeyRing
from tests.worker.farms import Farm
from tests.worker.webhooks.hooks import Hooks, hooks_on
from tests.worker.webhooks.hostile_answers import ACCEPTED, HOSTILE, OK, Hostile
from tests.worker.webhooks.receivers import Receiver, answering, deaf, routed, sending
from worker.webhooks.exchanges import Reply
from worker.webhooks.guarded_client import Outbound


def urls(receiver: Receiver) -> tuple[str, str]:
    """Two at the same origin."""
    return f"{receiver.url}/bad", f"{receiver.url}/good"


def ids_at(receiver: Receiver, path: str) -> list[str]:
    return [received.headers["webhook-id"] for received in receiver.received if received.path.endswith(path)]


def never_received(hooks: Hooks, receiver: Receiver, paths: Mapping[UUID, str]) -> Sequence[str]:
    """The events that are noted as delivered, but were never received at the path of their webhook."""
    return [
        str(delivery.event_id)
        for webhook_id, path in paths.items()
        for delivery in hooks.deliveries(webhook_id)
        if delivery.error is None and delivery.status in range(200, 300)
        if str(delivery.event_id) not in ids_at(receiver, path)
    ]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_answer_is_noted_truthfully_moves_the_schedule_and_reaches_no_other_webhook(
    farm: Farm, hooks: Hooks, receiver: Receiver, hostile: Hostile
) -> None:
    receiver.behave = routed(bad=hostile.behave, good=answering(200))
    bad_id, good_id = (hooks.create(url) for url in urls(receiver))
    farm.change(3)
    (began,) = hooks.execute("SELECT clock_timestamp() AS now")

    hooks.turn()
    hooks.turn()

    bad = hooks.get(bad_id)
    noted = {(d.status, (d.error or "").partition(":")[0] or None) for d in hooks.deliveries(bad_id)}
    assert noted == {(hostile.status, hostile.error)}
    if hostile.delivered:
        assert (bad.cursor.seq, bad.attempt) == (3, 0)
    else:
        assert (bad.cursor.seq, bad.attempt, len(hooks.deliveries(bad_id))) == (0, 1, 1)
        assert bad.next_attempt_at is not None
        assert bad.next_attempt_at > began.now
    assert never_received(hooks, receiver, {bad_id: "/bad", good_id: "/good"}) == []
    assert [r.seq for r in receiver.received if r.path.endswith("/good")] == [1, 2, 3]
    assert [(d.status, d.error) for d in hooks.deliveries(good_id)] == [(200, None)] * 3


class Sharing(Outbound):
    """One pool of kept connections for all webhooks, which takes no notice of what is left in them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = httpcore.ConnectionPool(keepalive_expiry=3.0)

    def client(self) -> "SharingClient":  # type: ignore[override]
        return SharingClient(self.pool)


class SharingClient:
    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def post(self, url: str, *, headers: Mapping[str, str], content: bytes) -> Reply:
        sent = [("Host", "127.0.0.1"), *headers.items(), ("Content-Length", str(len(content)))]
        answer = self._pool.request("POST", url, headers=sent, content=content, extensions={"timeout": {"read": 1}})
        return Reply(0.0, answer.status)


@pytest.mark.parametrize("answer", [OK + OK, b"HTTP/1.1 204 None\r\n\r\n" + OK])
def test_negative_control_over_shared_connections_a_delivery_is_noted_that_is_never_received(
    farm: Farm, engine: Engine, ring: KeyRing, receiver: Receiver, answer: bytes
) -> None:
    hooks = hooks_on(engine, ring)
    shared = Sharing()
    hooks.deliverer.outbound = shared
    receiver.behave = routed(bad=sending(answer, then=deaf), good=answering(200))
    bad_id, good_id = (hooks.create(url) for url in urls(receiver))
    farm.change(1)
    bad_first = sorted(hooks.claim(), key=lambda claim: claim.webhook_id != bad_id)

    for claim in bad_first:
        hooks.deliverer.deliver(webhook_id=claim.webhook_id, claim=claim.claim)

    assert never_received(hooks, receiver, {bad_id: "/bad"}) == []
    assert len(never_received(hooks, receiver, {good_id: "/good"})) == 1
    shared.pool.close()


def test_the_table_holds_every_kind_of_what_is_left_behind_an_answer() -> None:
    assert len(HOSTILE) >= 25
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)
    assert {hostile.delivered for hostile in ACCEPTED} == {True, False}
