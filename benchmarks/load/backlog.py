"""Backlog: changes made while no worker runs, and how fast one that is started gets rid of them."""

import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Engine

from benchmarks.failures import Unmeasured
from benchmarks.farms.databases import user_ids
from benchmarks.farms.farms import Farm
from benchmarks.load.relay_process import pending, state
from domain import locks
from domain.locks import Acquire, Grant, Release, Released

TTL = timedelta(hours=1)
AT_ONCE = 500
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 300


def settle(engine: Engine, *, published: bool = True) -> int:
    """Wait until every change has a number and, if wanted, is on the stream; the last number. Raises Unmeasured."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while pending(engine) or (published and (now := state(engine)).published_seq < now.last_seq):
        if time.monotonic() > deadline:
            raise Unmeasured(f"not drained within {PATIENCE_SECONDS} s")
        time.sleep(POLL_SECONDS)
    return state(engine).last_seq


def drained(farm: Farm, *, changes: int) -> float:
    """Events a second, from the first that a newly started worker numbers until all are on the stream.

    The changes are lock changes, made by `domain.locks` straight in the database, many at once: through HTTP they would
    be the same rows and take minutes.
    """
    (worker,) = (program for program in farm.programs if program.name == "worker")
    settle(farm.engine)
    worker.stop()
    made = make(farm.engine, user_ids(farm.engine, most=AT_ONCE), changes=changes)
    before = state(farm.engine)
    worker.launch()
    rate = _rate(farm.engine, after=before.last_seq, until=before.last_seq + made)
    worker.await_answer()
    return rate


def make(engine: Engine, users: Sequence[UUID], *, changes: int) -> int:
    """At least so many changes: all users are acquired and released, again and again; how many were made."""
    made = 0
    while made < changes:
        leases = {user_id: uuid.uuid4() for user_id in users}
        wishes = [Acquire(user_id, lease, "bench", "bench", TTL) for user_id, lease in leases.items()]
        with engine.begin() as conn:
            grants = locks.acquire(conn, wishes)
        with engine.begin() as conn:
            ends = locks.release(conn, [Release(user_id, "bench", lease) for user_id, lease in leases.items()])
        if not all(isinstance(grant, Grant) for grant in grants) or not all(isinstance(end, Released) for end in ends):
            raise Unmeasured("a change was refused")
        made += 2 * len(users)
    return made


def _rate(engine: Engine, *, after: int, until: int) -> float:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (begin := state(engine)).last_seq == after:
        _insist(deadline)
    began = time.monotonic()
    while state(engine).published_seq < until:
        _insist(deadline)
    return (until - begin.published_seq) / (time.monotonic() - began)


def _insist(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise Unmeasured(f"not drained within {PATIENCE_SECONDS} s")
    time.sleep(POLL_SECONDS)
