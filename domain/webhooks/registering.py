"""Creating, changing and deleting webhooks."""

import base64
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, delete, func, insert, select, text, update

from domain import events
from domain.errors import WebhookNotFound
from domain.events import LATEST, Filter
from domain.sealing import KeyRing
from domain.tables import webhooks
from domain.webhooks.views import Webhook, webhook_of, webhook_rows

SECRET_BYTES = 32  # Standard Webhooks wants 24 to 64
# What begins anew with a webhook that was switched on, or was given another URL.
AFRESH: Mapping[str, Any] = {"attempt": 0, "next_attempt_at": text("clock_timestamp()")}


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """`after` is a cursor, or `latest`; None is the oldest event kept."""

    url: str
    description: str | None = None
    by: Filter = field(default_factory=Filter)
    after: str | None = LATEST


def create(conn: Connection, *, new: NewWebhook, ring: KeyRing) -> tuple[Webhook, str]:
    """The webhook and its secret, which is told this once.

    Raises SealingUnconfigured, and for the cursor CursorMalformed, CursorTooOld and CursorUnknown.
    """
    webhook_id, secret = uuid.uuid4(), _new_secret()
    now = func.clock_timestamp()
    statement = insert(webhooks).values(
        id=webhook_id,
        url=new.url,
        description=new.description,
        types=list(new.by.types),
        user_id=new.by.user_id,
        project_id=new.by.project_id,
        env=new.by.env,
        secret_sealed=ring.seal(secret, user_id=webhook_id),
        status_since=now,
        seq=events.locate(conn, after=new.after).seq,
        next_attempt_at=now,
        created_at=now,
        updated_at=now,
    )
    conn.execute(statement)
    return get(conn, webhook_id=webhook_id), secret


def get(conn: Connection, *, webhook_id: UUID) -> Webhook:
    """Raises WebhookNotFound."""
    row = conn.execute(webhook_rows().where(webhooks.c.id == webhook_id)).one_or_none()
    if row is None:
        raise WebhookNotFound(webhook_id)
    return webhook_of(row)


def find(conn: Connection, *, limit: int, after: UUID | None = None) -> Sequence[Webhook]:
    """Webhooks in the order of their ids, those beyond `after`."""
    statement = webhook_rows().order_by(webhooks.c.id).limit(limit)
    if after is not None:
        statement = statement.where(webhooks.c.id > after)
    return [webhook_of(row) for row in conn.execute(statement)]


def change(conn: Connection, *, webhook_id: UUID, fields: Mapping[str, Any]) -> Webhook:
    """Set `url`, `description`, the filters `types`, `user_id`, `project_id`, `env`, or `status` active or paused.

    Set active, it goes on where it stands. Raises WebhookNotFound, and CursorTooOld when that place is gone.
    """
    row = _locked(conn, webhook_id)
    changed = {name: value for name, value in fields.items() if getattr(row, name) != value}
    if "status" in changed:
        changed |= {"status_reason": None, "status_since": text("clock_timestamp()")}
    if changed.get("status") == "active":
        events.locate(conn, after=str(events.at(conn, seq=row.seq)))
    if "url" in changed or changed.get("status") == "active":
        changed |= AFRESH
    if changed:
        _set(conn, webhook_id, changed)
    return get(conn, webhook_id=webhook_id)


def resume(conn: Connection, *, webhook_id: UUID, after: str | None = None) -> Webhook:
    """Set it active where it stands, or after the cursor given (`latest` is one).

    A run under way is cut off from the moved cursor: its token is taken from it, while its time is let go by, so that
    no second delivery begins beside the one that may be in flight.
    Raises WebhookNotFound, CursorMalformed, CursorTooOld and CursorUnknown.
    """
    if after is not None:
        row = _locked(conn, webhook_id)
        moved: dict[str, Any] = {"seq": events.locate(conn, after=after).seq, **AFRESH}
        if row.claim is not None:
            moved["claim"] = func.gen_random_uuid()
        _set(conn, webhook_id, moved)
    return change(conn, webhook_id=webhook_id, fields={"status": "active"})


def rotate_secret(conn: Connection, *, webhook_id: UUID, ring: KeyRing, overlap: timedelta) -> tuple[Webhook, str]:
    """The webhook and its new secret, told this once; for the overlap the one before signs too.

    Raises WebhookNotFound, SealingUnconfigured.
    """
    row, secret = _locked(conn, webhook_id), _new_secret()
    previous = {
        "previous_secret_sealed": row.secret_sealed if overlap else None,
        "previous_valid_until": func.clock_timestamp() + overlap if overlap else None,
    }
    _set(conn, webhook_id, {"secret_sealed": ring.seal(secret, user_id=webhook_id), **previous})
    return get(conn, webhook_id=webhook_id), secret


def remove(conn: Connection, *, webhook_id: UUID) -> None:
    """Delete it with all that is known of its deliveries. Raises WebhookNotFound."""
    if not conn.execute(delete(webhooks).where(webhooks.c.id == webhook_id)).rowcount:
        raise WebhookNotFound(webhook_id)


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def _locked(conn: Connection, webhook_id: UUID) -> Row[Any]:
    row = conn.execute(select(webhooks).where(webhooks.c.id == webhook_id).with_for_update()).one_or_none()
    if row is None:
        raise WebhookNotFound(webhook_id)
    return row


def _set(conn: Connection, webhook_id: UUID, fields: Mapping[str, Any]) -> None:
    values = {**fields, "updated_at": func.clock_timestamp()}
    conn.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(values))
