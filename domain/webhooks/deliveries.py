"""The deliveries that were made, and those that somebody wants made once more."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, text

from domain.errors import DeliveryNotFound, EventGone
from domain.events import feed
from domain.tables import webhook_deliveries
from domain.webhooks import registering
from domain.webhooks.views import Delivery, delivery_of, delivery_rows

KEEP = 10_000  # of each webhook
AT_ONCE = 20_000

PRUNE = text("""
WITH old AS MATERIALIZED (
    SELECT d.id FROM webhooks w
        CROSS JOIN LATERAL (
            SELECT id FROM webhook_deliveries k WHERE k.webhook_id = w.id ORDER BY id DESC OFFSET :keep LIMIT 1
        ) newest
        JOIN webhook_deliveries d ON d.webhook_id = w.id AND d.id <= newest.id
    LIMIT :limit
)
DELETE FROM webhook_deliveries d USING old WHERE d.id = old.id
""")


def find_deliveries(
    conn: Connection,
    *,
    webhook_id: UUID,
    limit: int,
    after: int | None = None,
    projects: Collection[UUID] | None = None,
) -> Sequence[Delivery]:
    """The webhook's deliveries, newest first, those older than the delivery `after`. Raises WebhookNotFound."""
    registering.get(conn, webhook_id=webhook_id, projects=projects)
    columns = webhook_deliveries.c
    statement = delivery_rows().where(columns.webhook_id == webhook_id).order_by(columns.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(columns.id < after)
    return [delivery_of(row) for row in conn.execute(statement)]


def ask_again(
    conn: Connection, *, webhook_id: UUID, delivery_id: int, projects: Collection[UUID] | None = None
) -> Delivery:
    """Have the event of that delivery sent once more, whatever the webhook's status; its cursor stays where it is.

    Raises WebhookNotFound, DeliveryNotFound, and EventGone when the event is no longer kept.
    """
    registering.get(conn, webhook_id=webhook_id, projects=projects)
    columns = webhook_deliveries.c
    known = select(columns.event_id, columns.seq).where(columns.id == delivery_id, columns.webhook_id == webhook_id)
    row = conn.execute(known).one_or_none()
    if row is None:
        raise DeliveryNotFound(delivery_id)
    if feed.find_same(conn, seq=row.seq, event_id=row.event_id) is None:
        raise EventGone(row.event_id)
    asked = insert(webhook_deliveries).values(
        webhook_id=webhook_id,
        event_id=row.event_id,
        seq=row.seq,
        kind="again",
        attempt=1,
        requested_at=func.clock_timestamp(),
    )
    new_id = conn.execute(asked.returning(columns.id)).scalar_one()
    return delivery_of(conn.execute(delivery_rows().where(columns.id == new_id)).one())


def prune(conn: Connection) -> int:
    """Drop what lies behind the newest 10,000 deliveries of a webhook, some at a time; how many."""
    return conn.execute(PRUNE, {"keep": KEEP, "limit": AT_ONCE}).rowcount
