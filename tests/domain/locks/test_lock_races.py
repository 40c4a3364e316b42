"""Races for locks, really run: threads on real connections against one Postgres."""

import functools
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from domain import locks
from domain.errors import LeaseLost, Refusal
from domain.locks import Grant, Release, Renew, Renewal
from domain.postgres import engines
from tests import patience
from tests.domain.farms import ALICE, BOB, TTL, Farm, acquire
from tests.domain.locks import stories
from tests.domain.postgres.threads import together

DEADLOCKS = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
LOCK = text("SELECT FROM users WHERE id = :user_id FOR UPDATE")
LAPSED = text("SELECT lock_expires_at < clock_timestamp() FROM users WHERE id = :user_id")
SHORT = timedelta(seconds=0.5)  # long enough to be waiting for the row before it is over

T = TypeVar("T")


@pytest.fixture
def crowded_farm(own_farm: Farm) -> Iterator[Farm]:
    """Room for 64 connections at once."""
    own_farm.engine.dispose()
    url = own_farm.engine.url.render_as_string(hide_password=False)
    engine = engines.engine(url, pool_size=64, patience_seconds=60)
    yield Farm(engine, own_farm.ring)
    engine.dispose()


def test_of_64_that_want_the_same_20_users_at_once_each_user_goes_to_exactly_one(crowded_farm: Farm) -> None:
    user_ids = crowded_farm.add_many(20)

    def want_all(thread: int) -> int:
        shuffled = random.Random(thread).sample(user_ids, k=20)
        return sum(isinstance(crowded_farm.acquire(user_id), Grant) for user_id in shuffled)

    grants = together([functools.partial(want_all, thread) for thread in range(64)])

    assert sum(grants) == 20
    assert crowded_farm.stories(user_ids) == [["created", "acquired"]] * 20


def test_batches_with_duplicates_never_deadlock_lose_an_event_or_overlap_leases(own_farm: Farm) -> None:
    user_ids = own_farm.add_many(20)
    deadlocks = _deadlocks(own_farm.engine)
    deadline = time.monotonic() + 3

    def work(thread: int) -> int:
        rng, grants = random.Random(thread), 0
        while time.monotonic() < deadline:
            grants += _work_once(own_farm, rng, user_ids)
        return grants

    def sweep() -> int:
        while time.monotonic() < deadline:
            own_farm.do(lambda conn: locks.expire(conn, limit=7))
            time.sleep(0.01)
        return 0

    workers: list[Callable[[], int]] = [functools.partial(work, thread) for thread in range(16)]
    grants = sum(together([*workers, sweep]))

    noted = own_farm.events_of(user_ids)
    acquired = sum(story.count("acquired") for story in own_farm.stories(user_ids))
    for events in noted.values():
        stories.check(events)
    assert grants == acquired > 200
    assert _deadlocks(own_farm.engine) == deadlocks


def test_negative_control_rows_locked_in_opposite_orders_do_deadlock_and_are_counted(own_farm: Farm) -> None:
    one, other = own_farm.add_many(2)
    deadlocks = _deadlocks(own_farm.engine)
    both_have_one = threading.Barrier(2)

    def lock_in_turn(*user_ids: UUID) -> bool:
        with own_farm.engine.begin() as conn:
            conn.execute(LOCK, {"user_id": user_ids[0]})
            both_have_one.wait(timeout=patience.limit(30))
            try:
                conn.execute(LOCK, {"user_id": user_ids[1]})
            except OperationalError:
                return False
            return True

    survived = together([lambda: lock_in_turn(one, other), lambda: lock_in_turn(other, one)])

    assert sorted(survived) == [False, True]
    assert _deadlocks(own_farm.engine) == deadlocks + 1


def test_a_renewal_that_waited_past_the_end_of_its_lease_is_refused(own_farm: Farm) -> None:
    user_id = own_farm.add()
    lease_id = own_farm.hold(user_id, ttl=SHORT).lease_id

    outcome = _while_the_lease_lapses(own_farm, user_id, lambda: own_farm.renew(user_id, lease_id))

    assert isinstance(outcome, LeaseLost)
    assert outcome.reason == "expired"
    assert own_farm.story(user_id) == ["created", "acquired"]


def test_the_time_is_read_after_the_wait_even_in_a_plan_that_begins_with_the_clock(own_farm: Farm) -> None:
    user_id = own_farm.add()
    request = Renew(user_id, own_farm.hold(user_id, ttl=SHORT).lease_id, ALICE, TTL)

    def renew(conn: Connection) -> list[Renewal | Refusal]:
        conn.execute(text("SET LOCAL join_collapse_limit = 1"))
        conn.execute(text("SET LOCAL enable_hashjoin = off"))
        return locks.renew(conn, [request])

    (outcome,) = _while_the_lease_lapses(own_farm, user_id, lambda: own_farm.do(renew))

    assert isinstance(outcome, LeaseLost)
    assert own_farm.story(user_id) == ["created", "acquired"]


def test_negative_control_a_plain_update_does_renew_a_lease_that_lapsed_while_it_waited(own_farm: Farm) -> None:
    user_id = own_farm.add()
    lease_id = own_farm.hold(user_id, ttl=SHORT).lease_id
    naive = text("""
        UPDATE users SET lock_expires_at = clock_timestamp() + interval '15 min'
        WHERE id = :user_id AND lease_id = :lease_id AND lock_expires_at > clock_timestamp()
    """)

    def renew() -> int:
        return own_farm.do(lambda conn: conn.execute(naive, {"user_id": user_id, "lease_id": lease_id}).rowcount)

    assert _while_the_lease_lapses(own_farm, user_id, renew) == 1


def test_a_release_that_waited_past_the_end_of_its_lease_is_refused(own_farm: Farm) -> None:
    user_id = own_farm.add()
    lease_id = own_farm.hold(user_id, ttl=SHORT).lease_id

    outcome = _while_the_lease_lapses(own_farm, user_id, lambda: own_farm.release(user_id, lease_id))

    assert isinstance(outcome, LeaseLost)
    assert own_farm.story(user_id) == ["created", "acquired"]


def test_a_repeated_acquire_that_waited_past_the_end_of_its_lease_is_refused(own_farm: Farm) -> None:
    user_id = own_farm.add()
    lease_id = own_farm.hold(user_id, ttl=SHORT).lease_id

    outcome = _while_the_lease_lapses(own_farm, user_id, lambda: own_farm.acquire(user_id, lease_id=lease_id))

    assert isinstance(outcome, LeaseLost)


def test_an_acquire_that_waited_until_the_lock_lapsed_takes_it_over(own_farm: Farm) -> None:
    user_id = own_farm.add()
    own_farm.hold(user_id, ttl=SHORT)

    outcome = _while_the_lease_lapses(own_farm, user_id, lambda: own_farm.acquire(user_id, principal=BOB))

    assert isinstance(outcome, Grant)
    assert own_farm.story(user_id) == ["created", "acquired", "expired", "acquired"]
    stories.check(own_farm.events(user_id))


def test_a_lease_begins_when_the_row_was_won_and_not_when_the_wait_began(own_farm: Farm) -> None:
    user_id = own_farm.add()
    own_farm.hold(user_id, ttl=SHORT)

    outcome = _while_the_lease_lapses(own_farm, user_id, lambda: own_farm.acquire(user_id, principal=BOB, ttl=TTL))

    assert isinstance(outcome, Grant)
    assert outcome.user.lock is not None
    assert outcome.user.lock.ttl_seconds == TTL.total_seconds()


def test_a_repeated_acquire_that_races_its_first_try_returns_the_same_lease(own_farm: Farm) -> None:
    requests = {user_id: uuid.uuid4() for user_id in own_farm.add_many(20)}

    def ask() -> list[Grant | Refusal]:
        return [own_farm.acquire(user_id, lease_id=lease_id) for user_id, lease_id in requests.items()]

    outcomes = [outcome for answers in together([ask] * 4) for outcome in answers]

    assert all(isinstance(outcome, Grant) for outcome in outcomes)
    assert sum(isinstance(outcome, Grant) and not outcome.again for outcome in outcomes) == 20


def _work_once(farm: Farm, rng: random.Random, user_ids: list[UUID]) -> int:
    """Acquire a batch with duplicates, in any order; renew some of it, give some of it back. How many were granted."""
    wanted = rng.choices(user_ids, k=rng.randint(1, 12))
    ttl = timedelta(milliseconds=rng.randint(30, 50))
    requests = [acquire(user_id, principal=str(rng.random()), ttl=ttl) for user_id in wanted]
    granted = [
        request
        for request, outcome in zip(requests, farm.acquire_all(requests), strict=True)
        if isinstance(outcome, Grant) and not outcome.again
    ]
    rng.shuffle(granted)
    third = len(granted) // 3
    farm.renew_all([Renew(r.user_id, r.lease_id, r.principal, ttl) for r in granted[: 2 * third]])
    farm.release_all([Release(r.user_id, r.principal, r.lease_id) for r in granted[third:]])
    return len(granted)


def _while_the_lease_lapses(farm: Farm, user_id: UUID, work: Callable[[], T]) -> T:
    """Hold the row until `work` waits for it and the lease has lapsed, then give way without a change."""
    with ThreadPoolExecutor(1) as pool, farm.engine.connect() as holder:
        holder.execute(LOCK, {"user_id": user_id})
        outcome = pool.submit(work)
        farm.await_waiting()
        assert not _lapsed(farm, user_id), "the wait began too late"
        while not _lapsed(farm, user_id):
            time.sleep(0.005)
        holder.rollback()
        return outcome.result()


def _lapsed(farm: Farm, user_id: UUID) -> bool:
    return bool(farm.do(lambda conn: conn.execute(LAPSED, {"user_id": user_id}).scalar_one()))


def _deadlocks(engine: Engine) -> int:
    """All that there were on this database; a session reports its own when it ends."""
    engine.dispose()
    with engine.connect() as conn:
        return int(conn.execute(DEADLOCKS).scalar_one())
