"""A farm on which requests end while something else happens to them, and the words to race them with."""

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from domain import requests, users
from domain.errors import Refusal
from domain.requests import Ask, Cancelled, Enqueue, Granted, Viewer
from domain.sealing import KeyRing
from domain.users import NewUser
from tests import patience
from tests.patience import until

OWN, FOREIGN = uuid.uuid4(), uuid.uuid4()
TTL = timedelta(minutes=10)
SHORT = timedelta(seconds=0.6)  # long enough to be waiting for the row before it is over
MOVE = text("UPDATE users SET project_id = :project_id WHERE id = :user_id")
LOCK = text("SELECT FROM users WHERE id = :user_id FOR UPDATE")
LAPSED = text("SELECT lock_expires_at < clock_timestamp() FROM users WHERE id = :user_id")
LONG_AGO = text("UPDATE lock_requests SET granted_at = granted_at - interval '3 s'")
BLOCKED = text("""
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
""")
EVENTS = text("SELECT type, data->>'reason' AS reason, data->>'note' AS note, principal FROM outbox ORDER BY id")
HELD = text("SELECT id FROM users WHERE lock_expires_at > clock_timestamp() ORDER BY id")
DEADLOCKS = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
T = TypeVar("T")


class Farm:
    """Users, and one principal `p` whose calls are at one process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.home = uuid.uuid4()
        self.do(requests.beat, home=self.home)

    def do(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        with self.engine.begin() as conn:
            return call(conn, *arguments, **named)

    def new_users(self, count: int, *, project_id: UUID | None = OWN) -> list[UUID]:
        new = [NewUser(f"bot-{uuid.uuid4().hex}", project_id=project_id) for _ in range(count)]
        return [self.do(users.create, new=each, ring=KeyRing()).id for each in new]

    def take(self, *, count: int = 1, ttl: timedelta = TTL, request_id: UUID | None = None) -> Granted:
        (outcome,) = self.do(requests.take, [ask_for(count=count, ttl=ttl, request_id=request_id)])
        assert isinstance(outcome, Granted)
        return outcome

    def stand(self, ask: Ask) -> None:
        self.do(requests.enqueue, [Enqueue(ask, self.home)])

    def cancel(self, request_id: UUID, *, viewer: Viewer | None = None, **named: Any) -> Cancelled | Refusal:
        seen = viewer or Viewer("p", own_only=True)
        try:
            return self.do(requests.cancel, request_id=request_id, viewer=seen, **named)
        except Refusal as refusal:
            return refusal

    def held(self) -> list[UUID]:
        return self.do(lambda conn: list(conn.execute(HELD).scalars()))

    def events(self) -> list[tuple[str, str | None, str | None]]:
        """Kind, reason and principal of every change of a lock."""
        rows = self.do(lambda conn: conn.execute(EVENTS).all())
        return [(row.type.split(".")[2], row.reason, row.principal) for row in rows if ".lock." in row.type]

    def blame(self) -> set[tuple[str, str, str | None]]:
        """Reason, principal and note of all releases."""
        rows = self.do(lambda conn: conn.execute(EVENTS).all())
        return {(row.reason, row.principal, row.note) for row in rows if row.type == "botfarm.lock.released.v1"}

    def count(self, statement: Any) -> int:
        return int(self.do(lambda conn: conn.execute(statement).scalar_one()))

    def while_held(self, hold: Callable[[Connection], object], work: Callable[[], T], *, then: Any = None) -> T:
        """What `work` returns, which waits for what a transaction does first; `then` is done before it commits."""
        done: list[T] = []
        thread = threading.Thread(target=lambda: done.append(work()))
        with self.engine.begin() as conn:
            hold(conn)
            thread.start()
            until(lambda: self.count(BLOCKED), what="waiting for the row")
            if then is not None:
                then()
        thread.join(patience.limit(30))
        (outcome,) = done
        return outcome


def ask_for(*, count: int = 1, ttl: timedelta = TTL, request_id: UUID | None = None) -> Ask:
    return Ask(request_id or uuid.uuid4(), "p", "p", ttl, count=count)
