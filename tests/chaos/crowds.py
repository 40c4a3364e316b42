"""Writers: threads that take and give back locks, in transactions of all lengths, some of them rolled back."""

import random
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine

from domain import locks, users
from domain.locks import Grant, Released
from domain.sealing import KeyRing
from domain.snapshots import User
from domain.users import NewUser

MOST_SECONDS_OPEN = 0.03


@dataclass
class Crowd:
    """`changes` counts those that were committed, by the writers themselves.

    `taken` and `undone` are the leases of grants that were committed, and of those that were rolled back.
    """

    engine: Engine
    user_ids: Sequence[UUID]
    stopping: threading.Event = field(default_factory=threading.Event)
    failures: list[Exception] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    changes: int = 0
    taken: set[UUID] = field(default_factory=set)
    undone: set[UUID] = field(default_factory=set)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def start(self, count: int) -> None:
        for number in range(count):
            writer = threading.Thread(target=self._write, args=(random.Random(number),), daemon=True)
            self.threads.append(writer)
            writer.start()

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _write(self, dice: random.Random) -> None:
        while not self.stopping.is_set():
            try:
                self._change(dice)
            except Exception as error:  # noqa: BLE001  -- told by `stop`
                self.failures.append(error)
                return

    def _change(self, dice: random.Random) -> None:
        """Take a few users and give them back, each in a transaction that stays open for a while."""
        chosen = dice.sample(list(self.user_ids), 3)
        with self.engine.connect() as conn:
            grants = _acquire(conn, chosen)
            committed = self._end(conn, dice, changes=len(grants))
            leases = self.taken if committed else self.undone
            leases.update(grant.lease_id for grant in grants if not grant.again)
            if not committed:
                return
        with self.engine.connect() as conn:
            # All at once: only one statement locks the users in the order that keeps transactions from deadlock.
            released = locks.release(conn, [locks.Release(g.user.id, "crowd", g.lease_id) for g in grants])
            # What is rolled back here is left to the sweep of the worker.
            self._end(conn, dice, changes=sum(isinstance(outcome, Released) for outcome in released))

    def _end(self, conn: Connection, dice: random.Random, *, changes: int) -> bool:
        time.sleep(dice.random() * MOST_SECONDS_OPEN)
        if dice.random() < 0.1:
            conn.rollback()
            return False
        conn.commit()
        with self._counting:
            self.changes += changes
        return True


def settle_down(engine: Engine, ring: KeyRing, count: int) -> list[UUID]:
    """Make the users that a crowd fights for."""
    new = [NewUser(f"bot-{uuid.uuid4().hex}") for _ in range(count)]
    with engine.begin() as conn:
        return [user.id for user in users.create_many(conn, new=new, ring=ring) if isinstance(user, User)]


def _acquire(conn: Connection, user_ids: Sequence[UUID]) -> list[Grant]:
    requests = [locks.Acquire(u, uuid.uuid4(), "crowd", "crowd", timedelta(seconds=0.5)) for u in user_ids]
    return [outcome for outcome in locks.acquire(conn, requests) if isinstance(outcome, Grant)]
