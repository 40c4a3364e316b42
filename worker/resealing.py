"""Passes over all sealed rows: count them by key, and seal those of older keys again with the first key."""

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Column, Engine

from domain import log
from domain.sealing import KeyRing, rotation
from domain.sealing.rotation import AT_ONCE, SEALED, Found
from worker import metrics

ROWS_PER_READ = 1_000
# A change of keys takes a restart, and that begins a pass. The later passes find the rows that processes with the
# previous keys have sealed since.
REST_SECONDS = 600.0
# After a pass that left rows of older keys: they were locked, or a process with other keys has sealed them.
SOON_SECONDS = 5.0
LOGGED_IDS_MOST = 100
UNKNOWN = "unknown"

log_ = log.get(__name__)


@dataclass(slots=True)
class Pass:
    """The progress of a pass, and what it has counted."""

    columns: list[Column[str]] = field(default_factory=lambda: list(SEALED))
    after: UUID | None = None
    resealed: int = 0
    unreadable: list[UUID] = field(default_factory=list)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)


class Resealing:
    """One pass after another, a batch of rows per turn. Any number of processes may do this at the same time."""

    def __init__(self, engine: Engine, ring: KeyRing) -> None:
        self._engine = engine
        self._ring = ring
        self._first = next(iter(ring.keys), None)
        self._due = 0.0
        self._pass = Pass()

    def kick(self) -> None:
        """Start the next pass now."""
        self._due = 0.0

    def work(self) -> bool:
        """Do one turn of the pass if it is due. Always returns False, so that the loop pauses between turns."""
        if time.monotonic() < self._due:
            return False
        try:
            self._turn()
        except Exception:
            self._pass = Pass()  # or its rows would be counted twice
            raise
        return False

    def _turn(self) -> None:
        column = self._pass.columns[0]
        with self._engine.begin() as conn:
            found = rotation.look(conn, column=column, after=self._pass.after, limit=ROWS_PER_READ)
        self._pass.rows.update((column.table.name, self._named(row)) for row in found if row.key_id is not None)
        if self._first is not None:
            self._reseal([row for row in found if row.key_id not in (None, self._first)])
        if len(found) == ROWS_PER_READ:
            self._pass.after = found[-1].id
            return
        self._pass.columns, self._pass.after = self._pass.columns[1:], None
        if not self._pass.columns:
            self._end()

    def _reseal(self, older: Sequence[Found]) -> None:
        column = self._pass.columns[0]
        for begin in range(0, len(older), AT_ONCE):
            some = older[begin : begin + AT_ONCE]
            with self._engine.begin() as conn:
                done = rotation.reseal(conn, column=column, ids=[row.id for row in some], ring=self._ring)
            keys = {row.id: self._named(row) for row in some}
            self._pass.rows.subtract((column.table.name, keys[row_id]) for row_id in done.ids)
            self._pass.rows[column.table.name, str(self._first)] += len(done.ids)
            self._pass.unreadable += done.unreadable
            self._pass.resealed += len(done.ids)
            metrics.RESEALED.inc(len(done.ids))

    def _named(self, row: Found) -> str:
        """The id of the row's key; UNKNOWN for one outside the ring, since any text must not become a label."""
        return row.key_id if row.key_id is not None and row.key_id in self._ring.keys else UNKNOWN

    def _end(self) -> None:
        """Publish what the pass has counted, and set when the next one is due."""
        for table, key in itertools.product({column.table.name for column in SEALED}, [*self._ring.keys, UNKNOWN]):
            metrics.SEALED_ROWS.labels(table, key).set(self._pass.rows[table, key])
        left = sum(rows for (_, key), rows in self._pass.rows.items() if key != self._first)
        metrics.RESEAL_LEFT.set(left)
        if self._pass.unreadable:
            log_.critical(
                "password_unreadable", ids=[str(row_id) for row_id in self._pass.unreadable[:LOGGED_IDS_MOST]]
            )
            metrics.UNREADABLE.inc(len(self._pass.unreadable))
        if self._pass.resealed or left:
            log_.info("passwords_resealed", first=self._first, resealed=self._pass.resealed, left=left)
        movable = left > len(self._pass.unreadable) and self._first is not None
        self._due = time.monotonic() + (SOON_SECONDS if movable else REST_SECONDS)
        self._pass = Pass()
