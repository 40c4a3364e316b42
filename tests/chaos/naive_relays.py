"""The relays everybody writes first, as negative controls: each is wrong in its own way, and the ledger must say so."""

import json
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import redis
from redis.exceptions import ResponseError
from sqlalchemy import Engine, Row, text

from domain.events import epochs, feed, outbox
from domain.events.cursors import Cursor
from worker.relay.stream import payload

BATCH = 500
PAUSE_SECONDS = 0.005

BY_ID = text("SELECT * FROM outbox WHERE id > :last ORDER BY id LIMIT :batch")
BY_XID = text("""
SELECT * FROM (SELECT *, xmin::text::bigint AS xid FROM outbox) AS o
WHERE xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint AND (xid, id) > (:xid, :id)
ORDER BY xid, id LIMIT :batch
""")


class NaiveRelay:
    """Relays from one database to one stream, without a guard, until told to stop."""

    def __init__(self, engine: Engine, client: redis.Redis, *, key: str) -> None:
        self._engine = engine
        self._client = client
        self._key = key

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            self.turn()
            stopping.wait(PAUSE_SECONDS)

    def turn(self) -> None:
        raise NotImplementedError

    def _add(self, rows: Iterable[Row[Any]]) -> None:
        for row in rows:
            body = {"id": str(row.event_id), "partitionkey": str(row.user_id), "lockversion": row.lock_version}
            self._client.xadd(self._key, {"e": json.dumps(body)})

    def _read(self, query: Any, **values: object) -> Sequence[Row[Any]]:
        with self._engine.begin() as conn:
            return conn.execute(query, {**values, "batch": BATCH}).all()


class PollsById(NaiveRelay):
    """Remembers the last id, and asks for what is after it.

    Ids are given when a row is inserted and become visible when its transaction commits, in another order: a row that
    is committed after one with a higher id is never looked for again.
    """

    _last = 0

    def turn(self) -> None:
        rows = self._read(BY_ID, last=self._last)
        self._add(rows)
        self._last = rows[-1].id if rows else self._last


class OrdersByXid(NaiveRelay):
    """Reads only what no open transaction can precede, in the order of transaction ids. It loses nothing.

    A transaction has its id before it waits for a row lock, so its change of that row comes after one of a transaction
    with a higher id.
    """

    _last = (0, 0)

    def turn(self) -> None:
        rows = self._read(BY_XID, xid=self._last[0], id=self._last[1])
        self._add(rows)
        self._last = (rows[-1].xid, rows[-1].id) if rows else self._last


class TrustsTheRefusal(NaiveRelay):
    """Numbers as it should, and takes an id that Redis refuses for one that is there: so it needs no other guard.

    One foreign `XADD *`, and Redis refuses all of its ids.
    """

    _after = Cursor(0, 0)

    def turn(self) -> None:
        with self._engine.begin() as conn:
            outbox.sequence(conn)
        with self._engine.begin() as conn:
            found = feed.following(conn, after=self._after, limit=BATCH)
        for event in found:
            try:
                self._client.xadd(self._key, {"e": payload(event)}, id=str(event.cursor))
            except ResponseError:
                continue
        if found:
            self._after = found[-1].cursor
            with self._engine.begin() as conn:
                epochs.advance(conn, epoch=self._after.epoch, published_seq=self._after.seq)
