"""Who held a user at a moment, found in its events as far back as they are kept."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from domain.errors import HistoryTooOld
from domain.events import feed
from domain.events.feed import Event

# A moment still to come is answered as of now: what holds now need not hold then.
LAST_CHANGE = text("""
SELECT seq, type IN ('botfarm.lock.acquired.v1', 'botfarm.lock.renewed.v1')
    AND (data->>'expires_at')::timestamptz > least(:at, (SELECT clock_timestamp())) AS holds,
    CAST(:projects AS text[]) IS NULL OR coalesce(data->>'project_id' = ANY (:projects), false) AS visible
FROM events
WHERE user_id = :user_id AND occurred_at <= :at AND type LIKE 'botfarm.lock.%'
ORDER BY lock_version DESC LIMIT 1
""")

# Complete when the user's first event is still there. One without any event has not changed since the oldest kept.
KEPT = text("""
SELECT oldest.occurred_at AS since, coalesce(
    (SELECT lock_version = 1 FROM events WHERE user_id = :user_id
        AND (CAST(:projects AS text[]) IS NULL OR data->>'project_id' = ANY (:projects))
        ORDER BY lock_version LIMIT 1),
    oldest.seq IS NULL OR oldest.seq = 1 OR oldest.occurred_at <= :at) AS complete
FROM (SELECT 1) AS one LEFT JOIN (SELECT seq, occurred_at FROM events ORDER BY seq LIMIT 1) AS oldest ON true
""")


def holding(conn: Connection, *, user_id: UUID, at: datetime, projects: Collection[UUID] | None = None) -> Event | None:
    """The event that gave the lock in force at that moment its owner and end: a grant, or a renewal; None when free.

    A lease ended at its `expires_at`, whenever its `expired` event came. Told by the events that are numbered, which
    are a moment behind the changes. None too when that was in no project of `projects`, those the reader is limited to.
    Raises HistoryTooOld when the events that would tell are no longer kept.
    """
    limits = None if projects is None else [str(project) for project in projects]
    question = {"user_id": user_id, "at": at, "projects": limits}
    last = conn.execute(LAST_CHANGE, question).one_or_none()
    if last is not None and last.visible:
        return feed.find(conn, seq=last.seq) if last.holds else None
    kept = conn.execute(KEPT, question).one()
    if not kept.complete:
        raise HistoryTooOld(user_id, kept.since)
    return None
