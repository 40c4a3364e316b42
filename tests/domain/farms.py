"""A farm of users on a real database, with the verbs as a test says them: each is a transaction of its own."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from domain import locks, users
from domain.errors import Refusal
from domain.locks import Acquire, Grant, Release, Released, Renew, Renewal
from domain.sealing import KeyRing
from domain.snapshots import User
from domain.users import NewUser

ALICE = "alice"
BOB = "bob"
TTL = timedelta(minutes=15)

# The ways a lease may end, and the reason a late holder is told.
ENDINGS = {
    "released": "released",
    "forced": "forced",
    "unclaimed": "unclaimed",
    "swept": "expired",
}

T = TypeVar("T")

EVENTS = text("""
SELECT user_id, type, lock_version, data, occurred_at, lease_id, principal FROM outbox WHERE user_id = ANY (:user_ids)
UNION ALL
SELECT user_id, type, lock_version, data, occurred_at, lease_id, principal FROM events WHERE user_id = ANY (:user_ids)
ORDER BY lock_version
""")

VERSIONS = text("SELECT id, lock_version FROM users WHERE id = ANY (:user_ids)")

WAITING = text("""
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')
""")

# Moves a user's times back, so that `ago` have passed since its lock lapsed.
LAPSE = text("""
UPDATE users u SET locktime = u.locktime - by, lock_expires_at = u.lock_expires_at - by,
    available_at = u.available_at - by
FROM (SELECT id, lock_expires_at - clock_timestamp() + :ago AS by FROM users WHERE id = ANY (:user_ids)) past
WHERE u.id = past.id
""")

AGE = text("""
UPDATE users SET locktime = locktime - :by, lock_expires_at = lock_expires_at - :by, available_at = available_at - :by
WHERE id = :user_id
""")


@dataclass(frozen=True, slots=True)
class Noted:
    """An event of one user, numbered or still in the outbox."""

    type: str
    lock_version: int
    data: dict[str, Any]
    occurred_at: datetime
    lease_id: UUID | None
    principal: str | None


@dataclass(frozen=True)
class Farm:
    engine: Engine
    ring: KeyRing

    def add(self, **fields: Any) -> UUID:
        """A new user with a login of its own."""
        new = NewUser(**({"login": f"bot-{uuid.uuid4().hex}"} | fields))
        return self.do(lambda conn: users.create(conn, new=new, ring=self.ring)).id

    def add_many(self, count: int) -> list[UUID]:
        new = [NewUser(login=f"bot-{uuid.uuid4().hex}") for _ in range(count)]
        made = self.do(lambda conn: users.create_many(conn, new=new, ring=self.ring))
        return [user.id for user in made if isinstance(user, User)]

    def acquire(self, user_id: UUID, **wishes: Any) -> Grant | Refusal:
        """By alice for 15 minutes under a fresh lease, unless wished otherwise."""
        (outcome,) = self.acquire_all([acquire(user_id, **wishes)])
        return outcome

    def hold(self, user_id: UUID, **wishes: Any) -> Grant:
        """Acquire what must be free."""
        outcome = self.acquire(user_id, **wishes)
        assert isinstance(outcome, Grant), outcome
        return outcome

    def renew(self, user_id: UUID, lease_id: UUID, *, principal: str = ALICE, **wishes: Any) -> Renewal | Refusal:
        (outcome,) = self.renew_all([Renew(user_id, lease_id, principal, **({"ttl": TTL} | wishes))])
        return outcome

    def release(
        self, user_id: UUID, lease_id: UUID | None = None, *, principal: str = ALICE, **wishes: Any
    ) -> Released | Refusal:
        (outcome,) = self.release_all([Release(user_id, principal, lease_id, **wishes)])
        return outcome

    def force(self, user_id: UUID, *, note: str = "stuck") -> Released | Refusal:
        return self.release(user_id, principal="admin", reason="forced", note=note)

    def sweep(self) -> int:
        return self.do(lambda conn: locks.expire(conn, limit=10_000))

    def end(self, user_id: UUID, lease_id: UUID, how: str) -> None:
        """End alice's live lease in one of the ways of ENDINGS; the user is free then."""
        match how:
            case "released" | "unclaimed":
                self.release(user_id, lease_id, reason="holder" if how == "released" else how)
            case "forced":
                self.force(user_id, note="stuck")
            case _:
                self.lapse(user_id)
                self.sweep()

    def acquire_all(self, requests: Sequence[Acquire]) -> list[Grant | Refusal]:
        return self.do(lambda conn: locks.acquire(conn, requests))

    def renew_all(self, requests: Sequence[Renew]) -> list[Renewal | Refusal]:
        return self.do(lambda conn: locks.renew(conn, requests))

    def release_all(self, requests: Sequence[Release]) -> list[Released | Refusal]:
        return self.do(lambda conn: locks.release(conn, requests))

    def lapse(self, *user_ids: UUID, ago: timedelta = timedelta(seconds=1)) -> None:
        """Let the locks have lapsed `ago`, without waiting for it."""
        self.do(lambda conn: conn.execute(LAPSE, {"user_ids": list(user_ids), "ago": ago}))

    def age(self, user_id: UUID, *, by: timedelta) -> None:
        """Let that much time pass for this user."""
        self.do(lambda conn: conn.execute(AGE, {"user_id": user_id, "by": by}))

    def quarantine(self, user_id: UUID, *, reason: str | None = "broken") -> None:
        """Without an event: the verb that writes one is not tested here."""
        self.set(user_id, status="quarantined", status_reason=reason)

    def set(self, user_id: UUID, **columns: Any) -> None:
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        statement = text(f"UPDATE users SET {assignments} WHERE id = :user_id")
        self.do(lambda conn: conn.execute(statement, {"user_id": user_id, **columns}))

    def row(self, user_id: UUID) -> dict[str, Any]:
        """The row with the place where it is stored, which every UPDATE changes."""
        statement = text("SELECT *, ctid::text FROM users WHERE id = :user_id")
        return dict(self.do(lambda conn: conn.execute(statement, {"user_id": user_id}).mappings().one()))

    def events(self, user_id: UUID) -> list[Noted]:
        return self.events_of([user_id])[user_id]

    def events_of(self, user_ids: Sequence[UUID]) -> dict[UUID, list[Noted]]:
        found: dict[UUID, list[Noted]] = {user_id: [] for user_id in user_ids}
        for user_id, *noted in self.do(lambda conn: conn.execute(EVENTS, {"user_ids": list(user_ids)}).all()):
            found[user_id].append(Noted(*noted))
        return found

    def story(self, user_id: UUID) -> list[str]:
        """What happened to the user, after checking that the versions count every event without a gap."""
        return self.stories([user_id])[0]

    def stories(self, user_ids: Sequence[UUID]) -> list[list[str]]:
        """The story of each user."""
        noted = self.events_of(user_ids)
        rows = self.do(lambda conn: conn.execute(VERSIONS, {"user_ids": list(user_ids)}).all())
        versions = {row.id: row.lock_version for row in rows}
        for user_id, events in noted.items():
            assert [event.lock_version for event in events] == list(range(1, len(events) + 1))
            assert versions[user_id] == len(events)
        return [[event.type.split(".")[2] for event in events] for events in noted.values()]

    def picture(self, user_id: UUID) -> tuple[dict[str, Any], list[Noted]]:
        """Row and events: equal pictures mean that nothing was written in between."""
        return self.row(user_id), self.events(user_id)

    def await_waiting(self) -> None:
        """Return when a session of this farm waits for a lock that another holds."""
        deadline = time.monotonic() + 60
        while not self.do(lambda conn: conn.execute(WAITING).scalar_one()):
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.005)

    def do(self, work: Callable[[Connection], T]) -> T:
        with self.engine.begin() as conn:
            return work(conn)


def acquire(user_id: UUID, **wishes: Any) -> Acquire:
    """A request by alice for 15 minutes under a fresh lease, unless wished otherwise."""
    defaults: dict[str, Any] = {"lease_id": uuid.uuid4(), "principal": ALICE, "owner": "job of alice", "ttl": TTL}
    return Acquire(user_id, **(defaults | wishes))
