"""What the ledger is given to compare: read from Postgres and from the stream, by nobody's code but this."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import Engine, text

from domain.events import feed
from domain.events.cursors import Cursor
from tests.chaos.ledger import Change, Entry
from worker.relay.stream import payload


def committed(engine: Engine) -> list[Change]:
    """Every change that was committed, numbered or not."""
    query = """SELECT event_id, user_id, lock_version FROM events
               UNION ALL SELECT event_id, user_id, lock_version FROM outbox"""
    with engine.begin() as conn:
        return [Change(str(row.event_id), str(row.user_id), row.lock_version) for row in conn.execute(text(query))]


def granted(engine: Engine) -> set[UUID]:
    """The leases that some event says were granted."""
    query = "SELECT lease_id FROM events WHERE type = 'botfarm.lock.acquired.v1'"
    with engine.begin() as conn:
        return set(conn.execute(text(query)).scalars())


def versions(engine: Engine) -> dict[str, int]:
    with engine.begin() as conn:
        return {str(row.id): row.lock_version for row in conn.execute(text("SELECT id, lock_version FROM users"))}


def held(engine: Engine) -> int:
    """How many users hold a lock, lapsed or not: each of them is a change to come."""
    with engine.begin() as conn:
        return int(conn.execute(text("SELECT count(*) FROM users WHERE lease_id IS NOT NULL")).scalar_one())


def numbered(engine: Engine) -> list[tuple[str, str]]:
    """Cursor and payload of every event, in order."""
    with engine.begin() as conn:
        found = feed.following(conn, after=Cursor(0, 0), limit=10_000_000)
    return [(str(event.cursor), payload(event)) for event in found]


def entries(client: redis.Redis, key: str) -> list[Entry]:
    """The whole stream; `client` decodes."""
    found: Any = client.xrange(key)
    return [entry for entry_id, fields in found if (entry := is_ours(entry_id, fields))]


def is_ours(entry_id: str, fields: Mapping[str, str]) -> Entry | None:
    """The entry, if it has the field that relays write."""
    if "e" not in fields:
        return None
    return entry_of(entry_id, fields["e"])


def entry_of(cursor: str, body: str) -> Entry:
    answer = json.loads(body)
    return Entry(cursor, answer["id"], answer["partitionkey"], answer["lockversion"], body)
