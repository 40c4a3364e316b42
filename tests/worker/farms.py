"""A farm to make changes on, and the stream as an outsider sees it."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import redis
from sqlalchemy import Engine, select, text

from domain import locks, users
from domain.events import epochs, feed
from domain.events.cursors import Cursor
from domain.locks import Grant
from domain.sealing import KeyRing
from domain.snapshots import User
from domain.tables import relay_state
from domain.users import NewUser
from worker.relay.stream import payload

PRINCIPAL = "tester"


@dataclass
class Farm:
    """Users on whose locks the test makes changes; every call is a transaction of its own."""

    engine: Engine
    ring: KeyRing
    users: list[UUID] = field(default_factory=list)
    _held: Grant | None = None

    def grow(self, count: int = 1) -> list[UUID]:
        with self.engine.begin() as conn:
            new = [NewUser(f"bot-{uuid.uuid4().hex}") for _ in range(count)]
            made = [user.id for user in users.create_many(conn, new=new, ring=self.ring) if isinstance(user, User)]
        self.users += made
        return made

    def acquire(self, user_id: UUID, *, seconds: float = 60) -> Grant:
        request = locks.Acquire(user_id, uuid.uuid4(), PRINCIPAL, PRINCIPAL, timedelta(seconds=seconds))
        with self.engine.begin() as conn:
            (outcome,) = locks.acquire(conn, [request])
        assert isinstance(outcome, Grant)
        return outcome

    def release(self, grant: Grant) -> None:
        with self.engine.begin() as conn:
            locks.release(conn, [locks.Release(grant.user.id, PRINCIPAL, grant.lease_id)])

    def change(self, count: int) -> None:
        """Make so many changes: in small numbers locks that come and go, in large ones users that are made."""
        if count > 100:
            self.grow(count)
            return
        for _ in range(count):
            if not self.users:
                self.grow()
            elif self._held is None:
                self._held = self.acquire(self.users[0])
            else:
                self.release(self._held)
                self._held = None

    @property
    def state(self) -> epochs.State:
        with self.engine.begin() as conn:
            return epochs.read(conn)

    def numbered(self) -> list[tuple[str, str]]:
        """Cursor and payload of every event, as the stream should have them."""
        with self.engine.begin() as conn:
            found = feed.following(conn, after=Cursor(0, 0), limit=100_000)
        return [(str(event.cursor), payload(event)) for event in found]

    def set_back(self, *, to_seq: int) -> None:
        """Make the database what it was when `to_seq` was published, as a restore would."""
        with self.engine.begin() as conn:
            conn.execute(text("DELETE FROM events WHERE seq > :seq"), {"seq": to_seq})
            conn.execute(text("DELETE FROM outbox"))
            conn.execute(relay_state.update().values(last_seq=to_seq, published_seq=to_seq))

    def incarnation(self) -> str | None:
        with self.engine.begin() as conn:
            found: str | None = conn.execute(select(relay_state.c.incarnation)).scalar_one()
            return found


@dataclass
class Outsider:
    """Somebody with a plain Redis client and access to the stream."""

    client: redis.Redis
    key: str

    def order(self, *words: str) -> None:
        """A command that the client has no method for."""
        self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    def entries(self) -> list[tuple[str, str]]:
        found: Any = self.client.xrange(self.key)
        return [(entry_id, fields.get("e", "")) for entry_id, fields in found]

    def cursors(self) -> list[str]:
        return [entry_id for entry_id, _ in self.entries()]

    def cut(self, count: int) -> list[str]:
        """Delete the newest entries; the last id stays where it is."""
        found: Any = self.client.xrevrange(self.key, count=count)
        ids = [entry_id for entry_id, _ in found]
        self.client.xdel(self.key, *ids)
        return ids

    def lose(self, count: int) -> None:
        """Lose the newest entries as in a failover to a replica that lagged: copy the rest to a new stream."""
        found: Any = self.client.xrange(self.key)
        kept = found[: len(found) - count]
        with self.client.pipeline() as pipe:
            pipe.delete(self.key)
            for entry_id, fields in kept:
                pipe.xadd(self.key, fields, id=entry_id)
            pipe.execute()

    def groups(self) -> dict[str, str]:
        found: Any = self.client.xinfo_groups(self.key)
        return {group["name"]: group["last-delivered-id"] for group in found}

    def read(self, group: str) -> list[str]:
        """All that the group has not been given yet."""
        found: Any = self.client.xreadgroup(group, "c", {self.key: ">"}, count=100_000)
        return [entry_id for _, entries in found for entry_id, _ in entries]


def seqs(cursors: Sequence[str]) -> list[int]:
    return [Cursor.parse(cursor).seq for cursor in cursors]


def event_ids(entries: Sequence[tuple[str, str]]) -> list[str]:
    return [json.loads(body)["id"] for _, body in entries]
