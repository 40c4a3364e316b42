"""A group commit of a test's own, on a loop of its own, and what it takes to catch it in the middle of its work."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Engine, text

from api.execution.group_commit import GroupCommit, Outcome
from domain import users
from domain.locks import Acquire
from domain.postgres import engines
from domain.sealing import KeyRing
from domain.snapshots import User
from tests.patience import eventually

T = TypeVar("T")
BUSY = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'lane' AND state = 'active' AND wait_event_type = 'Lock'
"""


@dataclass
class Lanes:
    """`commits` on a database of this test; `batches` are the outcomes of each, as they were told after the commit."""

    commits: GroupCommit
    engine: Engine
    runner: asyncio.Runner
    batches: list[Sequence[Outcome]] = field(default_factory=list)

    def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it to its end on the loop of the lanes, but not for ever. Between two calls that loop stands still."""
        return self.runner.run(asyncio.wait_for(work, 30))

    def new_users(self, count: int) -> list[uuid.UUID]:
        new = [users.NewUser(login=f"bot-{uuid.uuid4().hex}") for _ in range(count)]
        with self.engine.begin() as conn:
            made = users.create_many(conn, new=new, ring=KeyRing())
        return [user.id for user in made if isinstance(user, User)]

    def user(self, user_id: uuid.UUID) -> User:
        with self.engine.begin() as conn:
            return users.get(conn, user_id=user_id)

    def events(self, user_id: uuid.UUID) -> list[str]:
        """The kinds of the user's lock events, with the reason where there is one."""
        statement = "SELECT type, data->>'reason' AS reason FROM outbox WHERE user_id = :user_id ORDER BY id"
        with self.engine.begin() as conn:
            rows = conn.execute(text(statement), {"user_id": user_id}).all()
        kinds = [row.type.split(".")[2] + (f" {row.reason}" if row.reason else "") for row in rows]
        return kinds[1:]

    @contextlib.contextmanager
    def held(self, user_id: uuid.UUID) -> Iterator[None]:
        """The user's row, locked by somebody else until the end of the block."""
        with self.engine.begin() as conn:
            conn.execute(text("SELECT FROM users WHERE id = :id FOR UPDATE"), {"id": user_id})
            yield

    def busy(self) -> list[int]:
        """The backends of the lanes that wait for a row."""
        with self.engine.begin() as conn:
            return list(conn.execute(text(BUSY)).scalars())

    def kill(self, pids: Sequence[int]) -> None:
        with self.engine.begin() as conn:
            for pid in pids:
                conn.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    async def stuck(self, count: int = 1) -> None:
        """Return when so many lanes wait for a row."""
        assert await asyncio.to_thread(eventually, lambda: len(self.busy()) == count)


@contextlib.contextmanager
def running(database_url: str, *, lanes: int = 1, **options: Any) -> Iterator[Lanes]:
    """Lanes at work until the end of the block."""
    wired = engines.engine(database_url, pool_size=lanes + 1, autocommit=True, patience_seconds=30, name="lane")
    engine = engines.engine(database_url, pool_size=10, patience_seconds=30)
    with asyncio.Runner() as runner:
        started = Lanes(GroupCommit(wired, lanes=lanes, **options), engine, runner)
        if "after_commit" not in options:
            started.commits.after_commit = started.batches.append
        runner.run(_start(started.commits))
        try:
            yield started
        finally:
            runner.run(started.commits.close())
            wired.dispose()
            engine.dispose()
        assert [task for task in started.commits._tasks if not task.done()] == []


async def _start(commits: GroupCommit) -> None:
    commits.start()


def acquire(user_id: uuid.UUID, **changes: Any) -> Acquire:
    fields: dict[str, Any] = {
        "lease_id": uuid.uuid4(),
        "principal": "anonymous",
        "owner": "anonymous",
        "ttl": timedelta(minutes=15),
    }
    return Acquire(user_id=user_id, **{**fields, **changes})


async def outcomes(*calls: Awaitable[Any]) -> list[Any]:
    """What each call returned or raised, in order."""
    return list(await asyncio.gather(*calls, return_exceptions=True))
