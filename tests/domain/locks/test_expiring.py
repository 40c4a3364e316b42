"""Sweeps: each lapsed lock ends once, whoever sweeps and whoever else is at work on it."""

import threading
import time
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text

from domain import locks
from domain.errors import LeaseLost
from domain.locks import Grant, Renewal
from tests.domain.farms import BOB, Farm, acquire
from tests.domain.locks import stories
from tests.domain.postgres.threads import together


def test_a_sweep_ends_lapsed_locks_and_leaves_live_ones(own_farm: Farm) -> None:
    lapsed, live, free = own_farm.add(), own_farm.add(), own_farm.add()
    lease_id = own_farm.hold(lapsed, owner="ci-1", metadata={"branch": "main"}).lease_id
    own_farm.hold(live)
    own_farm.lapse(lapsed)
    ended_at = own_farm.row(lapsed)["lock_expires_at"]

    swept = own_farm.sweep()

    assert swept == 1
    assert [own_farm.story(u)[1:] for u in (lapsed, live, free)] == [["acquired", "expired"], ["acquired"], []]
    last = own_farm.events(lapsed)[-1]
    assert (last.lease_id, last.principal) == (lease_id, "alice")
    assert (last.data["owner"], last.data["metadata"], last.data["token"]) == ("ci-1", {"branch": "main"}, 2)
    row = own_farm.row(lapsed)
    assert (row["last_lease_id"], row["last_lease_reason"], row["last_lease_ended_at"]) == (
        lease_id,
        "expired",
        ended_at,
    )
    assert row["locktime"] is row["lock_owner"] is row["lock_metadata"] is row["lease_id"] is None


def test_a_sweep_ends_at_most_its_limit_and_the_oldest_first(own_farm: Farm) -> None:
    user_ids = [own_farm.add() for _ in range(3)]
    for age, user_id in enumerate(user_ids, start=1):
        own_farm.hold(user_id)
        own_farm.lapse(user_id, ago=timedelta(minutes=age))

    swept = own_farm.do(lambda conn: locks.expire(conn, limit=2))

    assert swept == 2
    assert [own_farm.story(user_id)[2:] for user_id in user_ids] == [[], ["expired"], ["expired"]]


def test_a_second_sweep_finds_nothing_left(own_farm: Farm) -> None:
    user_id = own_farm.add()
    own_farm.hold(user_id)
    own_farm.lapse(user_id)

    assert [own_farm.sweep(), own_farm.sweep()] == [1, 0]
    assert own_farm.story(user_id) == ["created", "acquired", "expired"]


def test_a_sweep_does_not_wait_for_a_row_that_somebody_works_on(own_farm: Farm) -> None:
    busy, idle = own_farm.add(), own_farm.add()
    for user_id in (busy, idle):
        own_farm.hold(user_id)
        own_farm.lapse(user_id)

    with own_farm.engine.begin() as conn:
        conn.execute(text("SELECT FROM users WHERE id = :user_id FOR UPDATE"), {"user_id": busy})
        swept = own_farm.sweep()
    swept_later = own_farm.sweep()

    assert (swept, swept_later) == (1, 1)
    assert own_farm.story(busy) == own_farm.story(idle) == ["created", "acquired", "expired"]


def test_sweepers_in_parallel_end_each_lock_once(own_farm: Farm) -> None:
    user_ids = _lapsed(own_farm, count=200)

    def sweep() -> int:
        ended = 0
        while swept := own_farm.do(lambda conn: locks.expire(conn, limit=9)):
            ended += swept
        return ended

    ended = together([sweep] * 4)

    assert sum(ended) + own_farm.sweep() == 200
    assert own_farm.stories(user_ids) == [["created", "acquired", "expired"]] * 200


def test_a_sweep_and_a_takeover_that_race_end_the_old_lease_once(own_farm: Farm) -> None:
    user_ids = _lapsed(own_farm, count=100)

    def take_over() -> int:
        return sum(isinstance(own_farm.acquire(user_id, principal=BOB), Grant) for user_id in user_ids)

    def sweep() -> int:
        return sum(own_farm.do(lambda conn: locks.expire(conn, limit=2)) for _ in range(50))

    taken, _ = together([take_over, sweep])

    assert taken == 100
    assert own_farm.stories(user_ids) == [["created", "acquired", "expired", "acquired"]] * 100


def test_a_lease_is_either_renewed_or_expired_and_never_both(own_farm: Farm) -> None:
    user_ids = own_farm.add_many(80)
    done = threading.Event()

    def sweep() -> list[bool]:
        while not done.is_set():
            own_farm.sweep()
        return []

    def renew_all() -> list[bool]:
        try:
            return _renewed_at_the_last_moment(own_farm, user_ids)
        finally:
            done.set()

    renewed, *_ = together([renew_all, sweep, sweep])
    own_farm.sweep()

    body = [story[2:] for story in own_farm.stories(user_ids)]
    assert body == [["renewed"] if is_renewed else ["expired"] for is_renewed in renewed]
    assert len(set(renewed)) == 2, "the moment was missed always on the same side"
    for events in own_farm.events_of(user_ids).values():
        stories.check(events)


def _lapsed(farm: Farm, *, count: int) -> list[UUID]:
    user_ids = farm.add_many(count)
    farm.acquire_all([acquire(user_id) for user_id in user_ids])
    farm.lapse(*user_ids)
    return user_ids


def _renewed_at_the_last_moment(farm: Farm, user_ids: list[UUID]) -> list[bool]:
    """Whether each was renewed; after a success the next lease is cut shorter, after a loss longer."""
    slack, renewed = timedelta(milliseconds=5), []
    for user_id in user_ids:
        lease_id = farm.hold(user_id, ttl=timedelta(milliseconds=15) + slack).lease_id
        time.sleep(0.015)
        outcome = farm.renew(user_id, lease_id)
        assert isinstance(outcome, Renewal) or (isinstance(outcome, LeaseLost) and outcome.reason == "expired")
        renewed.append(isinstance(outcome, Renewal))
        slack = slack / 1.3 if renewed[-1] else slack * 1.3
    return renewed
