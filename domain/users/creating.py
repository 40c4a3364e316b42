"""Users of the farm: creating, finding and listing them."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from domain import snapshots
from domain.errors import LoginTaken, Refusal, SealingUnconfigured
from domain.events.outbox import user_data
from domain.locks import reservations
from domain.sealing import KeyRing
from domain.snapshots import User


@dataclass(frozen=True, slots=True)
class NewUser:
    login: str
    password: str | None = field(default=None, repr=False)
    project_id: UUID | None = None
    env: str = "stage"
    domain: str = "regular"
    labels: Mapping[str, str] = field(default_factory=dict)


CREATE = text(f"""
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
), req AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY login ORDER BY n) AS nth
    FROM unnest(
        CAST(:id AS uuid[]), CAST(:login AS text[]), CAST(:password_sealed AS text[]), CAST(:project_id AS uuid[]),
        CAST(:env AS text[]), CAST(:domain AS text[]), CAST(:labels AS jsonb[])
    ) WITH ORDINALITY AS r (id, login, password_sealed, project_id, env, domain, labels, n)
), made AS (
    INSERT INTO users (id, login, password_sealed, project_id, env, domain, labels, created_at, updated_at,
                       available_at, lock_version)
    SELECT id, login, password_sealed, project_id, env, domain, labels, c.now, c.now, c.now, 1
    FROM req CROSS JOIN clock c
    WHERE nth = 1 ORDER BY login COLLATE "C"
    ON CONFLICT (login) DO NOTHING
    RETURNING *
), noted AS (
    INSERT INTO outbox (user_id, lock_version, type, data, occurred_at, principal, traceparent)
    SELECT m.id, m.lock_version, 'botfarm.user.created.v1', {user_data("m")}, m.created_at,
        :principal, :traceparent
    FROM made m ORDER BY m.login
)
SELECT m.*, m.created_at AS now FROM made m
""")


def create(
    conn: Connection, *, new: NewUser, ring: KeyRing, principal: str | None = None, traceparent: str | None = None
) -> User:
    """Raises LoginTaken, or SealingUnconfigured for a password that no key can seal."""
    (made,) = create_many(conn, new=[new], ring=ring, principal=principal, traceparent=traceparent)
    if isinstance(made, Refusal):
        raise made
    return made


def create_many(
    conn: Connection,
    *,
    new: Sequence[NewUser],
    ring: KeyRing,
    principal: str | None = None,
    traceparent: str | None = None,
) -> list[User | Refusal]:
    """Create all users that can be, each with its event; one outcome each, in order.

    A login that comes twice goes to the first. They are inserted in login order, so that two overlapping batches
    cannot deadlock.

    Refusals: LoginTaken; SealingUnconfigured for a password that no key can seal.
    """
    rows = [_row(user, ring=ring) for user in new]
    parameters = _parameters([row for row in rows if not isinstance(row, Refusal)])
    body = {"principal": principal, "traceparent": traceparent}
    made = {row.id: snapshots.of_row(row) for row in conn.execute(CREATE, parameters | body)}
    conn.execute(text(reservations.MARK_SATISFIABLE))
    return [row if isinstance(row, Refusal) else made.get(row["id"], LoginTaken(row["login"])) for row in rows]


def _row(user: NewUser, *, ring: KeyRing) -> dict[str, Any] | Refusal:
    user_id = uuid.uuid4()
    try:
        sealed = None if user.password is None else ring.seal(user.password, user_id=user_id)
    except SealingUnconfigured as refusal:
        return refusal
    return {
        "id": user_id,
        "login": user.login,
        "password_sealed": sealed,
        "project_id": user.project_id,
        "env": user.env,
        "domain": user.domain,
        "labels": json.dumps(dict(user.labels)),
    }


def _parameters(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """One array a column, as unnest takes them; UUIDs as text."""
    columns = ("id", "login", "password_sealed", "project_id", "env", "domain", "labels")
    return {
        column: [str(row[column]) if isinstance(row[column], UUID) else row[column] for row in rows]
        for column in columns
    }
