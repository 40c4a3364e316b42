"""Webhooks and deliveries as they are shown: never with a secret."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, case, func, null, select

from domain.events.cursors import Cursor
from domain.tables import epochs, webhook_deliveries, webhooks


@dataclass(frozen=True, slots=True)
class Webhook:
    """`cursor` is the last event dealt with; `attempt` counts how often the next one failed.

    `next_attempt_at` is None unless a further try is waited for.
    """

    id: UUID
    url: str
    description: str | None
    types: Sequence[str]
    user_id: UUID | None
    project_id: UUID | None
    env: str | None
    projects: Sequence[UUID] | None
    status: str
    status_reason: str | None
    status_since: datetime
    cursor: Cursor
    attempt: int
    next_attempt_at: datetime | None
    previous_secret_valid_until: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try. `status`, `error` and `latency_ms` are None while it waits to be made."""

    id: int
    webhook_id: UUID
    event_id: UUID
    cursor: Cursor
    kind: str
    attempt: int
    requested_at: datetime
    status: int | None
    error: str | None
    latency_ms: int | None
    answer: str | None


def webhook_rows() -> Select[Any]:
    columns = webhooks.c
    retrying = (columns.attempt > 0) & (columns.status == "active")
    overlaps = columns.previous_valid_until > func.clock_timestamp()
    return select(
        columns.id,
        columns.url,
        columns.description,
        columns.types,
        columns.user_id,
        columns.project_id,
        columns.env,
        columns.projects,
        columns.status,
        columns.status_reason,
        columns.status_since,
        columns.attempt,
        case((retrying, columns.next_attempt_at), else_=null()).label("next_attempt_at"),
        case((overlaps, columns.previous_valid_until), else_=null()).label("previous_secret_valid_until"),
        columns.created_at,
        columns.updated_at,
        columns.seq,
        _epoch_of(columns.seq),
    )


def delivery_rows() -> Select[Any]:
    columns = webhook_deliveries.c
    return select(*columns, _epoch_of(columns.seq))


def webhook_of(row: Row[Any]) -> Webhook:
    return Webhook(**_fields(row))


def delivery_of(row: Row[Any]) -> Delivery:
    return Delivery(**_fields(row))


def _epoch_of(seq: ColumnElement[int]) -> ColumnElement[int]:
    """SQL of the epoch whose history holds that number, as `epochs.of_seq` finds it."""
    held = select(func.max(epochs.c.epoch)).where(epochs.c.first_seq <= func.greatest(seq, 1))
    return held.scalar_subquery().label("epoch")


def _fields(row: Row[Any]) -> dict[str, Any]:
    """The row's columns, with number and epoch put together to the cursor."""
    fields = dict(row._mapping)  # noqa: SLF001  -- SQLAlchemy's public name for the row as a mapping
    cursor = Cursor(fields.pop("epoch"), fields.pop("seq"))
    return {**fields, "cursor": cursor}
