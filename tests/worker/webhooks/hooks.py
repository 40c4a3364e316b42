"""Webhooks of a test farm, and the delivering of what is due, without loops, queue or threads."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row, text

from domain import webhooks
from domain.events import outbox
from domain.events.feed import Filter
from domain.sealing import KeyRing
from domain.webhooks import Claim, Delivery, NewWebhook, Webhook
from tests.worker.webhooks.receivers import Handler, Receiver
from worker.webhooks.deliveries import Deliverer
from worker.webhooks.guarded_client import Outbound

LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass
class Hooks:
    engine: Engine
    ring: KeyRing
    deliverer: Deliverer
    secrets: dict[UUID, str] = field(default_factory=dict)

    def create(self, url: str, *, by: Filter | None = None, after: str | None = None) -> UUID:
        with self.engine.begin() as conn:
            new = NewWebhook(url, by=by or Filter(), after=after)
            webhook, self.secrets[webhook.id] = webhooks.create(conn, new=new, ring=self.ring)
        return webhook.id

    def get(self, webhook_id: UUID) -> Webhook:
        with self.engine.begin() as conn:
            return webhooks.get(conn, webhook_id=webhook_id)

    def change(self, webhook_id: UUID, **fields: Any) -> Webhook:
        with self.engine.begin() as conn:
            return webhooks.change(conn, webhook_id=webhook_id, fields=fields)

    def resume(self, webhook_id: UUID, *, after: str | None = None) -> Webhook:
        with self.engine.begin() as conn:
            return webhooks.resume(conn, webhook_id=webhook_id, after=after)

    def deliveries(self, webhook_id: UUID) -> Sequence[Delivery]:
        """The oldest first."""
        with self.engine.begin() as conn:
            return webhooks.find_deliveries(conn, webhook_id=webhook_id, limit=1_000)[::-1]

    def claim(self) -> Sequence[Claim]:
        """Number what was committed, and claim what is due."""
        with self.engine.begin() as conn:
            while outbox.sequence(conn):
                pass
        with self.engine.begin() as conn:
            due = webhooks.due(conn)
            for stretch in due.vain:
                if stretch.long:
                    webhooks.skip(conn, stretch=stretch)
        with self.engine.begin() as conn:
            return webhooks.claim(conn, wanted=due.wanted)

    def turn(self) -> int:
        """Deliver all that is due now, one webhook after the other; how many webhooks had something due."""
        self.deliverer.tip.tell(seq=0, crowded=False)
        claims = self.claim()
        for claim in claims:
            self.deliverer.deliver(webhook_id=claim.webhook_id, claim=claim.claim)
        return len(claims)

    def hasten(self, webhook_id: UUID) -> None:
        """Let the time of the next try have come."""
        self.execute("UPDATE webhooks SET next_attempt_at = clock_timestamp() WHERE id = :id", id=webhook_id)

    def execute(self, statement: str, **values: Any) -> Sequence[Row[Any]]:
        with self.engine.begin() as conn:
            found = conn.execute(text(statement), values)
            return found.all() if found.returns_rows else ()


def hooks_on(engine: Engine, ring: KeyRing, **outbound: Any) -> Hooks:
    guarded = Outbound(**{"allowed": LOOPBACK, "timeout_seconds": 1.0, **outbound})
    return Hooks(engine, ring, Deliverer(engine=engine, ring=ring, outbound=guarded, linger_seconds=0))


def meanwhile(hooks: Hooks, receiver: Receiver, act: Callable[[], object]) -> None:
    """Do something while the first event is in flight: when the receiver has it, and before it answers."""
    acted = threading.Event()

    def behave(handler: Handler) -> None:
        if not acted.is_set():
            acted.set()
            act()
        handler.answer(200)

    receiver.behave = behave
    hooks.turn()
