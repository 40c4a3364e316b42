"""A run: one claim at work, sending events of one webhook one after the other. Every write is made under its token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select, text, update

from domain.events import feed
from domain.events.feed import Event, Filter
from domain.postgres import clocks
from domain.tables import webhook_deliveries, webhooks
from domain.webhooks import schedules

# How long a token holds since it was last written: one delivery of 15 s, and a database that is slow besides.
TOKEN_SECONDS = 40.0
PAGE = 100
AGAIN_AT_ONCE = 10
DISABLED = "botfarm.webhook.disabled.v1"

START = text("""
UPDATE webhooks SET claim = gen_random_uuid(), claimed_until = clock_timestamp() + make_interval(secs => :seconds)
WHERE id = :id AND claim = :claim RETURNING claim
""")
DELIVERED = text("""
WITH moved AS (
    UPDATE webhooks SET seq = :seq, attempt = 0, troubled = :troubled,
        claimed_until = clock_timestamp() + make_interval(secs => :seconds)
    WHERE id = :id AND claim = :token RETURNING id, updated_at
), noted AS (
    INSERT INTO webhook_deliveries
        (webhook_id, event_id, seq, kind, attempt, requested_at, status, error, latency_ms, answer)
    SELECT id, :event_id, :seq, :kind, :attempt, :requested_at, :status, :error, :latency_ms, :answer FROM moved
)
SELECT updated_at = :seen AS unchanged FROM moved
""")
RELEASE = text("""
UPDATE webhooks SET claim = NULL, claimed_until = NULL, seq = greatest(seq, :seq) WHERE id = :id AND claim = :token
""")
NOTE_DISABLED = text("""
INSERT INTO outbox (type, data, occurred_at) VALUES (:type, jsonb_build_object(
    'webhook_id', CAST(:id AS uuid), 'reason', CAST(:reason AS text), 'cursor', CAST(:cursor AS text)),
    clock_timestamp())
""")


@dataclass(frozen=True, slots=True)
class Again:
    """A delivery that somebody asked for once more; its event is None when it is no longer kept."""

    delivery_id: int
    event: Event | None


@dataclass(frozen=True, slots=True)
class Run:
    """What to send, to whom, and how it stands. `secrets_sealed` are those that sign, the current one first.

    `now` is the database's clock at the look; `seen` tells a webhook that was changed since from one that was not.
    """

    webhook_id: UUID
    token: UUID
    url: str
    secrets_sealed: Sequence[str] = field(repr=False)
    failures: int
    seen: datetime
    now: datetime
    again: Sequence[Again]
    events: Sequence[Event]
    looked: int
    caught_up: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a try: a status, an error or both; `answer` is the beginning of what was said."""

    requested_at: datetime
    latency: timedelta
    status: int | None
    error: str | None
    answer: str | None
    retry_after: timedelta | None = None

    @property
    def delivered(self) -> bool:
        return self.error is None and self.status is not None and 200 <= self.status < 300  # noqa: PLR2004

    @property
    def gone(self) -> bool:
        """The receiver wants no more of this, ever."""
        return self.status == 410  # noqa: PLR2004


def start(conn: Connection, *, webhook_id: UUID, claim: UUID) -> UUID | None:
    """Exchange the claim for a token; None when it was taken before, or has been lost to another."""
    values = {"id": webhook_id, "claim": claim, "seconds": TOKEN_SECONDS}
    token: UUID | None = conn.execute(START, values).scalar_one_or_none()
    return token


def look(conn: Connection, *, webhook_id: UUID, token: UUID, after_seq: int = 0) -> Run | None:
    """What there is to be sent after the cursor, or after `after_seq` if that is further; None when the token is lost.

    A webhook that is not active, or waits for its next try, is sent only what was asked for again.
    Raises CursorTooOld.
    """
    held = select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.claim == token)
    row = conn.execute(held).one_or_none()
    if row is None:
        return None
    now, seq = clocks.now(conn), max(row.seq, after_seq)
    found: Sequence[Event] = ()
    looked, caught_up = seq, True
    if row.status == "active" and row.next_attempt_at <= now:
        by = Filter(row.types, row.user_id, row.project_id, row.env, _projects(row))
        page = feed.read(conn, after=str(feed.at(conn, seq=seq)), limit=PAGE, by=by)
        found, looked, caught_up = page.events, page.looked.seq, page.caught_up
    overlaps = row.previous_valid_until is not None and row.previous_valid_until > now
    return Run(
        webhook_id=webhook_id,
        token=token,
        url=row.url,
        secrets_sealed=[row.secret_sealed, *([row.previous_secret_sealed] if overlaps else [])],
        failures=row.attempt,
        seen=row.updated_at,
        now=now,
        again=_again(conn, webhook_id),
        events=found,
        looked=looked,
        caught_up=caught_up,
    )


def delivered(conn: Connection, run: Run, *, event: Event, failures: int, outcome: Outcome, troubled: bool) -> bool:
    """Note the delivery and move the cursor to its event; whether the run may go on as it is.

    It may not when the webhook was changed since, and when the token is lost; then nothing is noted either.
    """
    own = {"id": run.webhook_id, "token": run.token, "seen": run.seen}
    more = {**own, "troubled": troubled, "seconds": TOKEN_SECONDS}
    return bool(conn.execute(DELIVERED, _noted(event, failures, outcome) | more).scalar_one_or_none())


def failed(conn: Connection, run: Run, *, event: Event, failures: int, outcome: Outcome) -> str | None:
    """Note the failure, plan the next try or disable the webhook, and end the run; why it was disabled, if it was.

    What failed at a webhook that was changed meanwhile says nothing about it as it is now, and counts for nothing.
    """
    row = _held(conn, run)
    if row is None:
        return None
    values = _noted(event, failures, outcome) | {"webhook_id": run.webhook_id}
    conn.execute(webhook_deliveries.insert().values(values))
    _set(conn, run, {"claim": None, "claimed_until": None, "troubled": True, "seq": event.cursor.seq - 1})
    if row.updated_at != run.seen:
        return None
    pause = schedules.pause(failures=failures + 1, retry_after=outcome.retry_after)
    if pause is not None:
        due = func.clock_timestamp() + pause
        _set(conn, run, {"attempt": failures + 1, "next_attempt_at": due})
    if outcome.gone or pause is None:
        reason = "gone" if outcome.gone else "retries-exhausted"
        return reason if disable(conn, webhook_id=run.webhook_id, reason=reason) else None
    return None


def repeated(conn: Connection, run: Run, *, delivery_id: int, outcome: Outcome) -> bool:
    """Note what came of a delivery that was asked for again; the cursor stays. False when the token is lost."""
    if _held(conn, run) is None:
        return False
    columns = webhook_deliveries.c
    conn.execute(
        update(webhook_deliveries)
        .where(columns.id == delivery_id)
        .values({name: value for name, value in _fields_of(outcome).items() if name != "requested_at"})
    )
    until = func.clock_timestamp() + timedelta(seconds=TOKEN_SECONDS)
    _set(conn, run, {"claimed_until": until})
    return True


def release(conn: Connection, *, webhook_id: UUID, token: UUID, seq: int) -> None:
    """End the run; the cursor moves up to `seq`, up to where nothing was found that is for this webhook."""
    conn.execute(RELEASE, {"id": webhook_id, "token": token, "seq": seq})


def disable(conn: Connection, *, webhook_id: UUID, reason: str) -> bool:
    """Disable an active webhook, with its event; False, and nothing done, when it is not active (any more)."""
    now = func.clock_timestamp()
    change = {"status": "disabled", "status_reason": reason, "status_since": now, "updated_at": now}
    statement = update(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.status == "active")
    seq = conn.execute(
        statement.values(**change, claim=None, claimed_until=None).returning(webhooks.c.seq)
    ).scalar_one_or_none()
    if seq is None:
        return False
    cursor = str(feed.at(conn, seq=seq))
    conn.execute(NOTE_DISABLED, {"type": DISABLED, "id": webhook_id, "reason": reason, "cursor": cursor})
    return True


def _projects(row: Row[Any]) -> frozenset[UUID] | None:
    return None if row.projects is None else frozenset(row.projects)


def _again(conn: Connection, webhook_id: UUID) -> Sequence[Again]:
    columns = webhook_deliveries.c
    asked = (
        select(columns.id, columns.seq, columns.event_id)
        .where(columns.webhook_id == webhook_id, columns.latency_ms.is_(None))
        .order_by(columns.id)
        .limit(AGAIN_AT_ONCE)
    )
    return [Again(row.id, feed.find_same(conn, seq=row.seq, event_id=row.event_id)) for row in conn.execute(asked)]


def _held(conn: Connection, run: Run) -> Row[Any] | None:
    """The row, locked, while the token still is this run's."""
    held = webhooks.c.id == run.webhook_id, webhooks.c.claim == run.token
    return conn.execute(select(webhooks).where(*held).with_for_update()).one_or_none()


def _set(conn: Connection, run: Run, values: dict[str, Any]) -> None:
    conn.execute(update(webhooks).where(webhooks.c.id == run.webhook_id).values(values))


def _noted(event: Event, failures: int, outcome: Outcome) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "seq": event.cursor.seq,
        "kind": "retry" if failures else "first",
        "attempt": failures + 1,
        **_fields_of(outcome),
    }


def _fields_of(outcome: Outcome) -> dict[str, Any]:
    return {
        "requested_at": outcome.requested_at,
        "status": outcome.status,
        "error": outcome.error,
        "latency_ms": round(outcome.latency.total_seconds() * 1_000),
        "answer": outcome.answer,
    }
