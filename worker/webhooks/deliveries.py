"""Deliveries: what a thread does with a claim on a webhook."""

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from domain import log, webhooks
from domain.errors import CursorTooOld, SealBroken
from domain.events.feed import Event
from domain.postgres import engines
from domain.sealing import KeyRing
from domain.webhooks import Outcome, Run
from worker import metrics
from worker.webhooks import outcomes, signatures
from worker.webhooks.feed_tip import Tip
from worker.webhooks.guarded_client import Outbound

QUICK_SECONDS = 1.0  # a receiver that takes longer is troubled: it gets its place among those
RUN_SECONDS = 30.0
CROWDED_RUN_SECONDS = 0.5
LINGER_SECONDS = 1.0  # a run waits so long for a next event: a new one through the queue would come later
# A delivery begins only while the token outlives its 15 s, and a slow commit besides.
TOKEN_FRESH_SECONDS = webhooks.TOKEN_SECONDS - 20

log_ = log.get(__name__)


@dataclass(kw_only=True)
class Deliverer:
    """Sends what is due; safe for any number of threads, and of processes."""

    engine: Engine
    ring: KeyRing
    outbound: Outbound
    tip: Tip = field(default_factory=Tip)
    linger_seconds: float = LINGER_SECONDS

    @cached_property
    def single(self) -> Engine:
        """For what is one statement, or reads: without the round trips of BEGIN and COMMIT, twice as many a second."""
        return self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def deliver(self, *, webhook_id: UUID, claim: UUID) -> None:
        """Exchange the claim and send, as long as the receiver is quick and nobody else wants the thread.

        Once this process stops, claims are let go. When Postgres goes away the claim or token is left to lapse.
        """
        try:
            if self.tip.stopping:
                self.let_go(webhook_id=webhook_id, token=claim)  # another process need not wait for it to lapse
            elif (sender := Sender.start(self, webhook_id, claim)) is not None:
                sender.send_all()
        except SQLAlchemyError as error:
            if not engines.unavailable(error):
                raise
            log_.warning("webhook_run_broken_off", webhook_id=str(webhook_id), error=type(error).__name__)

    def let_go(self, *, webhook_id: UUID, token: UUID, seq: int = 0) -> None:
        """End a run that has come as far as `seq`, or give back a claim that nothing was done about."""
        with self.single.connect() as conn:
            webhooks.release(conn, webhook_id=webhook_id, token=token, seq=seq)


class Sender:
    """One run. `position` is how far it has come, `touched` when its token was last written."""

    def __init__(self, deliverer: Deliverer, webhook_id: UUID, token: UUID, *, touched: float) -> None:
        self._deliverer = deliverer
        self._webhook_id = webhook_id
        self._token = token
        self._touched = touched
        self._began = time.monotonic()
        self._client = deliverer.outbound.client()
        self._position = 0
        self._tries = 0

    @classmethod
    def start(cls, deliverer: Deliverer, webhook_id: UUID, claim: UUID) -> Self | None:
        touched = time.monotonic()
        with deliverer.single.connect() as conn:
            token = webhooks.start(conn, webhook_id=webhook_id, claim=claim)
        return None if token is None else cls(deliverer, webhook_id, token, touched=touched)

    def send_all(self) -> None:
        """Send until there is nothing more, or the run has to end; then hang up, and let the webhook go."""
        tip, linger = self._deliverer.tip, self._deliverer.linger_seconds
        try:
            with self._client:
                while (run := self._look()) is not None and self._send(run) and self._may_go_on():
                    if run.caught_up and not tip.beyond(self._position, seconds=linger):
                        break
        except CursorTooOld:
            self._disable("cursor-too-old")
        self._deliverer.let_go(webhook_id=self._webhook_id, token=self._token, seq=self._position)

    def _look(self) -> Run | None:
        with self._deliverer.single.connect() as conn:
            return webhooks.look(conn, webhook_id=self._webhook_id, token=self._token, after_seq=self._position)

    def _send(self, run: Run) -> bool:
        """Send what the look has found, in order; whether the run may go on."""
        looked_at = time.monotonic()
        if not all(self._may_go_on() and self._repeat(run, asked, looked_at) for asked in run.again):
            return False
        failures = run.failures
        for event in run.events:
            if not self._may_go_on():
                return False
            outcome = self._try(run, event, looked_at)
            if not outcome.delivered:
                return self._fail(run, event, failures, outcome)
            troubled = outcome.latency.total_seconds() > QUICK_SECONDS
            if not self._note(run, event, failures, outcome, troubled=troubled) or troubled:
                return False
            metrics.WEBHOOK_AGE.observe(event.age_seconds + time.monotonic() - looked_at)
            failures = 0
        self._position = max(self._position, run.looked)
        return True

    def _may_go_on(self) -> bool:
        """Each run may try once; a further try wants a thread that nobody else wants, and a fresh token."""
        now, tip = time.monotonic(), self._deliverer.tip
        most = CROWDED_RUN_SECONDS if tip.crowded else RUN_SECONDS
        fresh = now - self._touched < TOKEN_FRESH_SECONDS
        return fresh and not tip.stopping and (self._tries == 0 or now - self._began < most)

    def _try(self, run: Run, event: Event, looked_at: float) -> Outcome:
        """Send it. Whatever comes out of that, an exception of ours included, is an outcome: so the schedule moves.

        Only what ends the thread passes, and nothing here asks the database, whose failures are not the receiver's.
        """
        self._tries += 1
        began = time.monotonic()
        moment = run.now + timedelta(seconds=began - looked_at)
        try:
            outcome = self._post(run, event, moment)
        except Exception as error:
            log_.exception("webhook_try_broken", webhook_id=str(run.webhook_id), event_id=str(event.event_id))
            outcome = outcomes.of_defect(error, moment=moment, seconds=time.monotonic() - began)
        metrics.WEBHOOK_DELIVERIES.labels(outcomes.kind(outcome)).inc()
        return outcome

    def _post(self, run: Run, event: Event, moment: datetime) -> Outcome:
        try:
            secrets = [self._deliverer.ring.unseal(sealed, user_id=run.webhook_id) for sealed in run.secrets_sealed]
        except SealBroken:
            log_.critical("password_unreadable", webhook_id=str(run.webhook_id))
            metrics.UNREADABLE.inc()
            return Outcome(moment, timedelta(0), None, "secret-unreadable", None)
        content = signatures.body(event)
        headers = signatures.headers(event, content=content, secrets=secrets, moment=moment)
        reply = self._client.post(run.url, headers=headers, content=content.encode())
        metrics.WEBHOOK_LATENCY.observe(reply.seconds)
        return outcomes.of_reply(reply, moment=moment)

    def _repeat(self, run: Run, asked: webhooks.Again, looked_at: float) -> bool:
        if asked.event is None:
            outcome = Outcome(run.now, timedelta(0), None, "event-gone", None)
        else:
            outcome = self._try(run, asked.event, looked_at)
        touched = time.monotonic()
        with self._deliverer.engine.begin() as conn:
            held = webhooks.repeated(conn, run, delivery_id=asked.delivery_id, outcome=outcome)
        self._touched = touched
        return held

    def _note(self, run: Run, event: Event, failures: int, outcome: Outcome, *, troubled: bool) -> bool:
        touched = time.monotonic()
        with self._deliverer.single.connect() as conn:
            held = webhooks.delivered(conn, run, event=event, failures=failures, outcome=outcome, troubled=troubled)
        self._touched, self._position = touched, event.cursor.seq
        return held

    def _fail(self, run: Run, event: Event, failures: int, outcome: Outcome) -> bool:
        """A failure ends the run. Always False."""
        with self._deliverer.engine.begin() as conn:
            reason = webhooks.failed(conn, run, event=event, failures=failures, outcome=outcome)
        if reason is not None:
            self._tell_disabled(reason)
        return False

    def _disable(self, reason: str) -> None:
        with self._deliverer.engine.begin() as conn:
            disabled = webhooks.disable(conn, webhook_id=self._webhook_id, reason=reason)
        if disabled:
            self._tell_disabled(reason)

    def _tell_disabled(self, reason: str) -> None:
        metrics.WEBHOOKS_DISABLED.labels(reason).inc()
        log_.warning("webhook_disabled", webhook_id=str(self._webhook_id), reason=reason)
