"""The relay's numbering: every committed change gets one number, in an order that no user's changes break."""

import functools
import random
import threading
from uuid import UUID

from sqlalchemy import Connection, text

from domain import locks
from domain.events import epochs, outbox
from domain.locks import Grant
from tests.domain.farms import ALICE, TTL, Farm, acquire
from tests.domain.postgres.threads import together

NUMBERED = text("SELECT seq, user_id, lock_version, type FROM events ORDER BY seq")
NAIVE = text("SELECT id FROM outbox WHERE id > :last ORDER BY id")
IN_OUTBOX_ORDER = text("SELECT user_id, lock_version FROM outbox ORDER BY id")


def number_all(farm: Farm, *, limit: int = 500) -> int:
    numbered = 0
    while moved := farm.do(lambda conn: outbox.sequence(conn, limit=limit)):
        numbered += moved
    return numbered


def numbered(farm: Farm) -> list[tuple[int, UUID, int]]:
    return farm.do(lambda conn: [(row.seq, row.user_id, row.lock_version) for row in conn.execute(NUMBERED)])


def versions_of_each(changes: list[tuple[UUID, int]]) -> dict[UUID, list[int]]:
    """The versions of each user in the order in which they come."""
    found: dict[UUID, list[int]] = {}
    for user_id, version in changes:
        found.setdefault(user_id, []).append(version)
    return found


def assert_gapless(farm: Farm) -> None:
    """Numbers count from one, and the versions of every user too, in the same order."""
    changes = numbered(farm)
    assert [seq for seq, _, _ in changes] == list(range(1, len(changes) + 1))
    for versions in versions_of_each([(user_id, version) for _, user_id, version in changes]).values():
        assert versions == list(range(1, len(versions) + 1))


def test_numbers_count_from_one_and_follow_the_outbox(own_farm: Farm) -> None:
    user_ids = own_farm.add_many(3)
    for user_id in user_ids:
        own_farm.release(user_id, own_farm.hold(user_id).lease_id)
    written = own_farm.do(lambda conn: [tuple(row) for row in conn.execute(IN_OUTBOX_ORDER)])

    moved = own_farm.do(lambda conn: outbox.sequence(conn, limit=500))

    assert moved == 9
    assert [(user_id, version) for _, user_id, version in numbered(own_farm)] == written
    assert_gapless(own_farm)
    assert not own_farm.do(outbox.pending)


def test_one_call_moves_at_most_its_limit_and_the_next_goes_on_with_the_numbers(own_farm: Farm) -> None:
    own_farm.add_many(5)

    moved = [own_farm.do(lambda conn: outbox.sequence(conn, limit=2)) for _ in range(4)]

    assert moved == [2, 2, 1, 0]
    assert_gapless(own_farm)


def test_an_event_keeps_everything_it_was_written_with(own_farm: Farm) -> None:
    user_id = own_farm.add()
    own_farm.hold(user_id, metadata={"branch": "main"})
    before = own_farm.events(user_id)

    number_all(own_farm)

    assert own_farm.events(user_id) == before
    assert len(before) == 2


def test_a_transaction_that_is_rolled_back_leaves_no_event_and_no_gap(own_farm: Farm) -> None:
    user_id = own_farm.add()
    with own_farm.engine.connect() as conn:
        locks.acquire(conn, [acquire(user_id)])
        conn.rollback()
    own_farm.hold(user_id)

    number_all(own_farm)

    assert own_farm.story(user_id) == ["created", "acquired"]
    assert_gapless(own_farm)


def test_a_numbering_that_dies_before_its_commit_is_done_again_with_the_same_numbers(own_farm: Farm) -> None:
    own_farm.add_many(3)
    with own_farm.engine.connect() as conn:
        outbox.sequence(conn, limit=2)
        died_with = [row.user_id for row in conn.execute(NUMBERED)]
        conn.rollback()

    number_all(own_farm)

    assert [user_id for _, user_id, _ in numbered(own_farm)][:2] == died_with
    assert_gapless(own_farm)


def test_a_change_that_commits_late_is_numbered_late_and_never_lost(own_farm: Farm) -> None:
    early, late = own_farm.add(), own_farm.add()
    own_farm.do(epochs.adopt)  # else the first grant would, and numbering waits for the one that does
    number_all(own_farm)

    with own_farm.engine.connect() as slow:
        locks.acquire(slow, [acquire(late)])
        own_farm.hold(early)
        first = own_farm.do(lambda conn: outbox.sequence(conn, limit=500))
        slow.commit()
    second = own_farm.do(lambda conn: outbox.sequence(conn, limit=500))

    assert (first, second) == (1, 1)
    assert [user_id for _, user_id, _ in numbered(own_farm)][2:] == [early, late]


def test_negative_control_a_poller_by_id_loses_the_change_that_commits_late(own_farm: Farm) -> None:
    early, late = own_farm.add(), own_farm.add()
    own_farm.do(epochs.adopt)  # else the first grant would, and numbering waits for the one that does
    number_all(own_farm)
    seen: list[int] = []

    def poll(conn: Connection) -> None:
        seen.extend(conn.execute(NAIVE, {"last": max(seen, default=0)}).scalars())

    with own_farm.engine.connect() as slow:
        locks.acquire(slow, [acquire(late)])
        own_farm.hold(early)
        own_farm.do(poll)
        slow.commit()
    own_farm.do(poll)

    assert len(seen) == 1
    assert own_farm.do(lambda conn: conn.execute(text("SELECT count(*) FROM outbox")).scalar_one()) == 2


def test_a_users_changes_lie_in_the_outbox_in_their_order_however_writers_race(own_farm: Farm) -> None:
    user_ids = own_farm.add_many(3)

    together([functools.partial(_change_often, own_farm, user_ids, thread) for thread in range(8)])

    written = own_farm.do(lambda conn: [(row.user_id, row.lock_version) for row in conn.execute(IN_OUTBOX_ORDER)])
    assert len(written) > 3
    for versions in versions_of_each(written).values():
        assert versions == list(range(1, len(versions) + 1))


def test_relays_that_race_with_8_writers_lose_nothing_and_keep_every_users_order(own_farm: Farm) -> None:
    user_ids = own_farm.add_many(20)
    done = threading.Event()

    def write(thread: int) -> int:
        return _change_often(own_farm, user_ids, thread)

    def relay() -> int:
        while not done.is_set():
            own_farm.do(lambda conn: outbox.sequence(conn, limit=random.randint(1, 20)))
        return 0

    def write_all() -> int:
        try:
            return sum(together([functools.partial(write, thread) for thread in range(8)]))
        finally:
            done.set()

    written = sum(together([write_all, relay, relay, relay]))
    number_all(own_farm)

    assert len(numbered(own_farm)) == 20 + written
    assert_gapless(own_farm)
    assert all(own_farm.stories(user_ids))


def test_the_backlog_is_counted_with_the_age_of_its_oldest_change(own_farm: Farm) -> None:
    empty = own_farm.do(outbox.backlog)
    own_farm.add_many(3)
    own_farm.do(lambda conn: conn.execute(text("UPDATE outbox SET occurred_at = occurred_at - interval '1 min'")))

    count, oldest_seconds = own_farm.do(outbox.backlog)
    capped, _ = own_farm.do(lambda conn: outbox.backlog(conn, most=2))

    assert empty == (0, None)
    assert (count, capped) == (3, 2)
    assert oldest_seconds is not None
    assert 60 <= oldest_seconds < 90


def test_numbering_joins_nothing_by_nested_loops_even_when_the_planner_takes_the_outbox_for_empty(
    own_farm: Farm,
) -> None:
    def plan(conn: Connection) -> str:
        conn.execute(text("ANALYZE outbox"))
        explained = text(f"EXPLAIN {outbox.SEQUENCE.text}")
        return "\n".join(conn.execute(explained, {"limit": 500, "last_seq": 0, "epoch": 1}).scalars())

    assert "Nested Loop" not in own_farm.do(plan)


def test_a_look_for_pending_changes_takes_no_lock(own_farm: Farm) -> None:
    own_farm.add()

    with own_farm.engine.begin() as conn:
        outbox.sequence(conn, limit=500)
        seen_by_others = own_farm.do(outbox.pending)

    assert seen_by_others
    assert not own_farm.do(outbox.pending)


def _change_often(farm: Farm, user_ids: list[UUID], thread: int) -> int:
    """Acquire, renew and release in small batches; how many changes were made."""
    rng, changes = random.Random(thread), 0
    for _ in range(12):
        requests = [acquire(user_id, ttl=TTL) for user_id in rng.sample(user_ids, k=rng.randint(1, len(user_ids) // 3))]
        outcomes = zip(requests, farm.acquire_all(requests), strict=True)
        granted = [request for request, outcome in outcomes if isinstance(outcome, Grant)]
        for request in granted:
            farm.renew(request.user_id, request.lease_id)
            farm.release(request.user_id, request.lease_id, principal=ALICE)
        changes += 3 * len(granted)
    return changes
