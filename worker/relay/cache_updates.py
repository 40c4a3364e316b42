"""What the read cache may learn from events: a lock's state, seen at the moment of its last change.

Nearly always the API has just written the same entry. So the cache is asked what it lacks, and only for that are
events taken apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.events.feed import Event
from domain.redis.cache import LIFE_SECONDS, Cache, Entry

HELD = frozenset({"botfarm.lock.acquired.v1", "botfarm.lock.renewed.v1"})
FREE = frozenset({"botfarm.lock.released.v1", "botfarm.lock.expired.v1", "botfarm.user.created.v1"})
DELETED = "botfarm.user.deleted.v1"


def tell(cache: Cache, batch: Sequence[Event]) -> None:
    """Let the cache know the newest state of each lock in the batch. Old news is dropped by the cache itself."""
    newest = _newest(batch)
    for user_id, event in newest.items():
        if event.type == DELETED:
            cache.forget(user_id)
    lacking = cache.lacking({user_id: event.lock_version or 0 for user_id, event in newest.items() if _worth(event)})
    cache.put([_entry(user_id, newest[user_id]) for user_id in lacking])


def _newest(batch: Iterable[Event]) -> Mapping[UUID, Event]:
    """By user, the last event that says something about its lock: a changed label says nothing."""
    known = HELD | FREE | {DELETED}
    return {event.user_id: event for event in batch if event.user_id and event.type in known}


def _worth(event: Event) -> bool:
    """Whether it is new enough to cache: a stream that is refilled repeats events older than any entry lives."""
    return event.type != DELETED and event.age_seconds < LIFE_SECONDS


def _entry(user_id: UUID, event: Event) -> Entry:
    lock = _lock(event) if event.type in HELD else None
    return Entry(user_id, event.lock_version or 0, lock, age_seconds=event.age_seconds)


def _lock(event: Event) -> dict[str, Any]:
    """The public lock as it was when the event happened; `ttl_seconds` is of the database's clock alone."""
    data = event.data
    ttl = datetime.fromisoformat(data["expires_at"]) - event.occurred_at
    return {
        "owner": data["owner"],
        "token": data["token"],
        "acquired_at": data["locktime"],
        "expires_at": data["expires_at"],
        "ttl_seconds": ttl.total_seconds(),
        "metadata": data["metadata"],
    }
