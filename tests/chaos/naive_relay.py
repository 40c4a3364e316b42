"""The relay everybody writes first, as a negative control: it remembers the last id, and asks for what is after it.

Ids are given when a row is inserted and become visible when its transaction commits, in another order: a row that is
committed after one with a higher id is never looked for again.
"""

import json
import threading

import redis
from sqlalchemy import Engine, select

from domain.tables import outbox

BATCH = 500


class NaiveRelay:
    """Reads the outbox, whose rows stay, and adds them to a stream without a guard."""

    def __init__(self, engine: Engine, client: redis.Redis, *, key: str) -> None:
        self._engine = engine
        self._client = client
        self._key = key
        self._last_id = 0

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            self.turn()
            stopping.wait(0.005)

    def turn(self) -> None:
        query = select(outbox).where(outbox.c.id > self._last_id).order_by(outbox.c.id).limit(BATCH)
        with self._engine.begin() as conn:
            rows = conn.execute(query).all()
        for row in rows:
            told = {"id": str(row.event_id), "partitionkey": str(row.user_id), "lockversion": row.lock_version}
            self._client.xadd(self._key, {"e": json.dumps(told)})
            self._last_id = row.id
