"""Planning: how a pool acquire finds its users where few of very many are free, and how long that takes.

Plan: that of the statement by which `requests.take` looks for free users on 1,000,000 of which 99 % are locked, as the
server was sent it, executed once more under EXPLAIN and undone. It is printed. A plan that reads users in any other way
than in the order of their partial index fails the part.

Time: `requests.take` with its commit, straight in the database by one caller, for 1 user and for 10, on the million and
on 1,000 users of which none is locked, call by call in turn. What was taken is given back when the time has been taken.
HTTP would add the same to both; `contention` has the speeds with it. Statements are prepared as the API has them.
"""

import contextlib
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, event

from benchmarks.failures import Unmeasured
from benchmarks.farms.databases import STAGE, fill, new_database
from benchmarks.figures import Sample, Setup
from benchmarks.load.percentiles import percentile
from domain import locks, requests
from domain.locks import Release, Released, reservations
from domain.postgres import engines
from domain.requests import Ask, Granted

PART = "plans"
INDEX = "users_available_at"
COUNTS = (1, 10)
TTL = timedelta(minutes=10)
READING = re.compile(r"^\s*(?:->\s+)?(.*) on users\b", re.MULTILINE)


@dataclass(frozen=True)
class Scale:
    """How many users the farm of which 99 % are locked has, and the one that it is compared with."""

    large: int
    small: int


FULL = Scale(large=1_000_000, small=1_000)
QUICK = Scale(large=5_000, small=1_000)


def measure(setup: Setup) -> Iterator[Sample]:
    scale = QUICK if setup.quick else FULL
    setup.say(f"filling {scale.large:,} users, 99 % locked")
    with filled(setup, users=scale.large, locked_percent=99) as large, filled(setup, users=scale.small) as small:
        for _ in comparing(replace(setup, seconds=1), large, small):
            pass  # to warm up, and to have everything prepared
        for count in COUNTS:
            explaining(setup, large, count=count)
        for number in range(setup.rounds):
            setup.say(f"plans: round {number + 1} of {setup.rounds}")
            yield from comparing(setup, large, small)


@contextlib.contextmanager
def filled(setup: Setup, *, users: int, locked_percent: int = 0) -> Iterator[Engine]:
    """An engine of one connection, made as the API makes its own, on a database of its own with so many users."""
    with new_database(setup.database_url, pool_size=1) as plain:
        fill(plain, count=users, locked_percent=locked_percent)
        url = plain.url.render_as_string(hide_password=False)
        engine = engines.engine(url, pool_size=1, patience_seconds=None, pre_ping=False, prepare=True)
        try:
            yield engine
        finally:
            engine.dispose()


def explaining(setup: Setup, engine: Engine, *, count: int) -> None:
    """Raises Unmeasured, when it has shown the plan, for one that does not read users by the index."""
    plan = explain(engine, count=count)
    setup.say(f"how a pool acquire of {_users(count)} looks for free users:\n\n{plan}\n")
    if not by_index(plan):
        raise Unmeasured(f"a pool acquire of {_users(count)} does not read users in the order of the index {INDEX}")
    setup.say(f"it reads users in the order of the partial index {INDEX}, and in no other way")


def explain(engine: Engine, *, count: int) -> str:
    """The plan by which the statement was executed once more, undone like the acquire that sent it."""
    with engine.connect() as conn:
        sent = _sent(conn, count=count)
        with conn.begin() as transaction:
            cursor = conn.connection.cursor()
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sent}")
            rows = cursor.fetchall()
            transaction.rollback()
    return "\n".join(line for (line,) in rows)


def by_index(plan: str) -> bool:
    """Whether it reads users, does so by the partial index only, and leaves their order to it, so that few are read."""
    return {found[1] for found in READING.finditer(plan)} == {f"Index Scan using {INDEX}"} and "Sort" not in plan


def comparing(setup: Setup, large: Engine, small: Engine) -> Iterator[Sample]:
    farms = {"1 M users, 99 % locked": large, "1 k users, none locked": small}
    for count in COUNTS:
        times: dict[str, list[float]] = {peer: [] for peer in farms}
        until = time.monotonic() + setup.seconds
        while time.monotonic() < until:
            for peer, engine in farms.items():
                times[peer].append(cycle(engine, count=count))
        for peer, found in times.items():
            for name, percent in {"p50": 50, "p99": 99}.items():
                value = percentile(found, percent)
                yield Sample(PART, f"pool acquire {name}", f"1 caller, {_users(count)}", peer, "ms", value)


def cycle(engine: Engine, *, count: int) -> float:
    """How many ms taking so many users took; they are given back. Raises Unmeasured for a refusal of either."""
    began = time.perf_counter()
    with engine.begin() as conn:
        granted = _take(conn, count=count)
    took = (time.perf_counter() - began) * 1e3
    with engine.begin() as conn:
        ends = locks.release(conn, [Release(grant.user.id, "bench", grant.lease_id) for grant in granted.grants])
    if not all(isinstance(end, Released) for end in ends):
        raise Unmeasured("a release was refused")
    return took


def _take(conn: Connection, *, count: int) -> Granted:
    (outcome,) = requests.take(conn, [Ask(uuid.uuid4(), "bench", "bench", TTL, count=count, env=STAGE)])
    if not isinstance(outcome, Granted):
        raise Unmeasured(f"a pool acquire of {_users(count)} was refused: {type(outcome).__name__}")
    return outcome


def _sent(conn: Connection, *, count: int) -> str:
    """What the server was sent, to the letter, when `requests.take` looked for free users; the acquire is undone."""
    found: list[str] = []

    def note(_conn: Connection, cursor: Any, _statement: str, _parameters: object, context: Any, _many: bool) -> None:  # noqa: ANN401, FBT001  -- SQLAlchemy's signature
        if reservations.FREE in context.statement:
            found.append(cursor.query.decode())

    with conn.begin() as transaction:
        event.listen(conn, "after_cursor_execute", note)
        _take(conn, count=count)
        event.remove(conn, "after_cursor_execute", note)
        transaction.rollback()
    if len(found) != 1:
        raise Unmeasured(f"a pool acquire looked for free users by {len(found)} statements, not by one")
    return found[0]


def _users(count: int) -> str:
    return "1 user" if count == 1 else f"{count} users"
