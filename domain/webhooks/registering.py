"""Creating, changing and deleting webhooks."""

import base64
import secrets
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, text, update

from domain.errors import TooManyWebhooks, WebhookNotFound
from domain.events import feed
from domain.events.feed import LATEST, Filter
from domain.sealing import KeyRing
from domain.tables import webhooks
from domain.webhooks.views import Webhook, webhook_of, webhook_rows

ONE_MAKER = text("SELECT pg_advisory_xact_lock(hashtext('botfarm.webhooks'))")
SECRET_BYTES = 32  # Standard Webhooks wants 24 to 64
# What starts over with a webhook that was switched on, or was given another URL.
AFRESH: Mapping[str, Any] = {"attempt": 0, "next_attempt_at": text("clock_timestamp()")}


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """`after` is a cursor, or `latest`; None is the oldest event kept."""

    url: str
    description: str | None = None
    by: Filter = field(default_factory=Filter)
    after: str | None = LATEST


def create(conn: Connection, *, new: NewWebhook, ring: KeyRing, most: int | None = None) -> tuple[Webhook, str]:
    """The webhook and its secret, shown only here. `most` is the limit of webhooks, None for no limit.

    Raises TooManyWebhooks, SealingUnconfigured, and for the cursor CursorMalformed, CursorTooOld and CursorUnknown.
    """
    if most is not None:
        _require_room(conn, most)
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
        projects=None if new.by.projects is None else sorted(new.by.projects),
        secret_sealed=ring.seal(secret, user_id=webhook_id),
        status_since=now,
        seq=feed.locate(conn, after=new.after).seq,
        next_attempt_at=now,
        created_at=now,
        updated_at=now,
    )
    conn.execute(statement)
    return get(conn, webhook_id=webhook_id), secret


def get(conn: Connection, *, webhook_id: UUID, projects: Collection[UUID] | None = None) -> Webhook:
    """Raises WebhookNotFound, also for one that hears of more than the `projects` its caller is limited to."""
    row = conn.execute(webhook_rows().where(webhooks.c.id == webhook_id, *_within(projects))).one_or_none()
    if row is None:
        raise WebhookNotFound(webhook_id)
    return webhook_of(row)


def find(
    conn: Connection, *, limit: int, after: UUID | None = None, projects: Collection[UUID] | None = None
) -> Sequence[Webhook]:
    """Webhooks in the order of their ids, those beyond `after`."""
    statement = webhook_rows().where(*_within(projects)).order_by(webhooks.c.id).limit(limit)
    if after is not None:
        statement = statement.where(webhooks.c.id > after)
    return [webhook_of(row) for row in conn.execute(statement)]


def change(
    conn: Connection, *, webhook_id: UUID, fields: Mapping[str, Any], projects: Collection[UUID] | None = None
) -> Webhook:
    """Set `url`, `description`, the filters `types`, `user_id`, `project_id`, `env`, or `status` active or paused.

    Set active, it goes on where it stands. Raises WebhookNotFound, and CursorTooOld when that place is gone.
    """
    row = _locked(conn, webhook_id, projects)
    changed = {name: value for name, value in fields.items() if getattr(row, name) != value}
    if "status" in changed:
        changed |= {"status_reason": None, "status_since": text("clock_timestamp()")}
    if changed.get("status") == "active":
        feed.locate(conn, after=str(feed.at(conn, seq=row.seq)))
    if "url" in changed or changed.get("status") == "active":
        changed |= AFRESH
    if changed:
        _set(conn, webhook_id, changed)
    return get(conn, webhook_id=webhook_id)


def resume(
    conn: Connection, *, webhook_id: UUID, after: str | None = None, projects: Collection[UUID] | None = None
) -> Webhook:
    """Set it active where it stands, or after the cursor given (`latest` is one).

    A run under way is cut off from the moved cursor: its token is taken from it, while its time is let go by, so that
    no second delivery begins beside the one that may be in flight.
    Raises WebhookNotFound, CursorMalformed, CursorTooOld and CursorUnknown.
    """
    if after is not None:
        row = _locked(conn, webhook_id, projects)
        moved: dict[str, Any] = {"seq": feed.locate(conn, after=after).seq, **AFRESH}
        if row.claim is not None:
            moved["claim"] = func.gen_random_uuid()
        _set(conn, webhook_id, moved)
    return change(conn, webhook_id=webhook_id, fields={"status": "active"}, projects=projects)


def rotate_secret(
    conn: Connection, *, webhook_id: UUID, ring: KeyRing, overlap: timedelta, projects: Collection[UUID] | None = None
) -> tuple[Webhook, str]:
    """The webhook and its new secret, shown only here; during the overlap the previous one signs too.

    Raises WebhookNotFound, SealingUnconfigured.
    """
    row, secret = _locked(conn, webhook_id, projects), _new_secret()
    previous = {
        "previous_secret_sealed": row.secret_sealed if overlap else None,
        "previous_valid_until": func.clock_timestamp() + overlap if overlap else None,
    }
    _set(conn, webhook_id, {"secret_sealed": ring.seal(secret, user_id=webhook_id), **previous})
    return get(conn, webhook_id=webhook_id), secret


def remove(conn: Connection, *, webhook_id: UUID, projects: Collection[UUID] | None = None) -> None:
    """Delete it with all that is known of its deliveries. Raises WebhookNotFound."""
    if not conn.execute(delete(webhooks).where(webhooks.c.id == webhook_id, *_within(projects))).rowcount:
        raise WebhookNotFound(webhook_id)


def _require_room(conn: Connection, most: int) -> None:
    """Raises TooManyWebhooks. Those who make some at the same time count one after the other, until they commit."""
    conn.execute(ONE_MAKER)
    if conn.execute(select(func.count()).select_from(webhooks)).scalar_one() >= most:
        raise TooManyWebhooks(most)


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def _locked(conn: Connection, webhook_id: UUID, projects: Collection[UUID] | None) -> Row[Any]:
    own = (webhooks.c.id == webhook_id, *_within(projects))
    row = conn.execute(select(webhooks).where(*own).with_for_update()).one_or_none()
    if row is None:
        raise WebhookNotFound(webhook_id)
    return row


def _within(projects: Collection[UUID] | None) -> list[ColumnElement[bool]]:
    """A limited admin has the webhooks that hear of no more than it may; an array that is null is contained in none."""
    return [] if projects is None else [webhooks.c.projects.contained_by(list(projects))]


def _set(conn: Connection, webhook_id: UUID, fields: Mapping[str, Any]) -> None:
    values = {**fields, "updated_at": func.clock_timestamp()}
    conn.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(values))
