"""The plain peer does what Botfarm does: the same fields in the answer, the same columns in the row, the same event."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine, text

from api.schemas import locks as lock_schemas
from api.schemas import users as user_schemas
from benchmarks.farms.databases import fill
from benchmarks.peers import pgbench, plain_app
from domain import locks
from domain.locks import Acquire, Release

TTL = timedelta(seconds=900)


def by_botfarm(engine: Engine, user_id: UUID, lease_id: UUID) -> list[Callable[[], Any]]:
    def run(verb: Callable[..., Any], request: Any) -> None:
        with engine.begin() as conn:
            verb(conn, [request])

    return [
        lambda: run(locks.acquire, Acquire(user_id, lease_id, "plain", "plain", TTL)),
        lambda: run(locks.release, Release(user_id, "plain")),
    ]


def by_plain(engine: Engine, user_id: UUID, lease_id: UUID) -> list[Callable[[], Any]]:
    values = {"owner": "plain", "ttl_seconds": 900, "metadata": "{}", "lease_id": str(lease_id)}

    def run(statement: str) -> None:
        with engine.begin() as conn:
            conn.execute(text(statement), {"user_id": str(user_id), "principal": "plain", **values}).one()

    return [lambda: run(plain_app.ACQUIRE), lambda: run(plain_app.RELEASE)]


def trace(engine: Engine, user_id: UUID, steps: list[Callable[[], Any]]) -> list[Any]:
    """What rows and events look like after each step, but for moments and ids."""
    seen = []
    for step in steps:
        step()
        with engine.begin() as conn:
            row = conn.execute(text("SELECT * FROM users WHERE id = :id"), {"id": user_id}).one()
            event = conn.execute(text("SELECT * FROM outbox WHERE user_id = :id ORDER BY id DESC"), {"id": user_id})
        seen.append([comparable(row), comparable(event.first())])
    return seen


def comparable(row: Any) -> dict[str, Any]:
    moments = ("locktime", "expires_at", "_at")
    values = dict(row._mapping)
    data = values.pop("data", None) or {}
    values |= {f"data.{name}": value for name, value in data.items()}
    ids = {"id", "event_id", "login", "user_id", "data.user_id", "data.login"}
    return {name: value is None if name.endswith(moments) or name in ids else value for name, value in values.items()}


def test_a_row_and_its_events_are_what_botfarm_would_have_made_of_them(engine: Engine) -> None:
    fill(engine, count=2, locked_percent=0)
    with engine.begin() as conn:
        ours, theirs = conn.execute(text("SELECT id FROM users ORDER BY login")).scalars()
    lease_id = uuid.uuid4()

    expected = trace(engine, ours, by_botfarm(engine, ours, lease_id))

    assert trace(engine, theirs, by_plain(engine, theirs, lease_id)) == expected


@pytest.mark.parametrize(
    "own", [user_schemas.LockOut, user_schemas.UserOut, lock_schemas.AcquiredOut, lock_schemas.ReleasedOut]
)
def test_an_answer_has_the_fields_of_botfarms_own(own: type[BaseModel]) -> None:
    assert list(getattr(plain_app, own.__name__).model_fields) == list(own.model_fields)


def test_pgbench_runs_the_very_statements_of_the_plain_peer() -> None:
    script = pgbench.script(users=7)

    assert script.startswith("\\set user random(1, 7)\nBEGIN;\n")
    for fragment in ("FOR NO KEY UPDATE", "'botfarm.lock.acquired.v1', jsonb_build_object(", "INSERT INTO outbox"):
        assert fragment in script
        assert fragment in plain_app.ACQUIRE + plain_app.RELEASE
    assert "CAST(:user_id" not in script
    assert ":MI" not in script
