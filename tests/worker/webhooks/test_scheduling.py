"""The scheduling loop looks at each event once, and remembers where it found nothing."""

import threading
import time
import uuid

import pytest
from redis.exceptions import ConnectionError as RedisAway

from domain.events import outbox
from domain.events.feed import Filter
from domain.webhooks import Claim
from tests import patience
from tests.worker.farms import Farm
from tests.worker.webhooks.hooks import Hooks
from worker.webhooks.feed_tip import Tip
from worker.webhooks.scheduling import Scheduling

URL = "http://127.0.0.1:1/"


class Queue:
    """Notes what is enqueued."""

    def __init__(self, hooks: Hooks) -> None:
        self.claims: list[Claim] = []
        self.tip = Tip()
        self.scheduling = Scheduling(hooks.engine, self.tip, enqueue=self.claims.append)
        self._hooks = hooks

    def turn(self) -> list[uuid.UUID]:
        """Who was claimed in one turn over all that was committed."""
        with self._hooks.engine.begin() as conn:
            while outbox.sequence(conn):
                pass
        self.claims.clear()
        self.scheduling._look_at = 0  # as if a moment had passed
        assert self.scheduling() is False
        return [claim.webhook_id for claim in self.claims]


@pytest.fixture
def queue(hooks: Hooks) -> Queue:
    return Queue(hooks)


def test_events_without_a_match_are_read_once_but_again_for_a_changed_filter(
    farm: Farm, hooks: Hooks, queue: Queue
) -> None:
    webhook_id = hooks.create(URL, by=Filter(env="prod"))
    farm.change(3)
    in_vain = queue.turn(), queue.turn()
    hooks.execute("UPDATE events SET data = jsonb_set(data, '{env}', '\"prod\"') WHERE seq = 2")
    not_again = queue.turn()

    hooks.change(webhook_id, types=["botfarm.user.created.v1", "botfarm.lock.acquired.v1"])

    assert (in_vain, not_again) == (([], []), [])
    assert queue.turn() == [webhook_id]


def test_a_process_that_stops_claims_no_webhook_that_it_would_leave_to_lapse(
    farm: Farm, hooks: Hooks, queue: Queue
) -> None:
    webhook_id = hooks.create(URL)
    farm.change(1)
    queue.tip.stop()

    assert queue.turn() == []
    assert hooks.execute("SELECT claim FROM webhooks")[0].claim is None
    assert Queue(hooks).turn() == [webhook_id]  # for another process it is there


def test_a_match_behind_events_without_one_is_found(farm: Farm, hooks: Hooks, queue: Queue) -> None:
    (user_id,) = farm.grow()
    webhook_id = hooks.create(URL, by=Filter(types=["botfarm.lock.acquired.v1"]))
    quiet = queue.turn()

    farm.acquire(user_id)

    assert quiet == []
    assert queue.turn() == [webhook_id]


def test_a_cursor_is_moved_over_a_long_stretch_without_a_match_and_left_over_a_short_one(
    farm: Farm, hooks: Hooks, queue: Queue
) -> None:
    webhook_id = hooks.create(URL, by=Filter(env="prod"))
    farm.change(101)
    queue.turn()
    short = hooks.get(webhook_id).cursor.seq
    farm.change(500)

    queue.turn()

    assert short == 0
    assert hooks.get(webhook_id).cursor.seq == 601


def test_without_a_new_event_a_retry_is_found_a_moment_later(farm: Farm, hooks: Hooks, queue: Queue) -> None:
    webhook_id = hooks.create(URL, by=Filter(env="prod"))
    farm.change(1)
    queue.turn()
    hooks.change(webhook_id, env="stage")

    at_once = queue.scheduling(), list(queue.claims)
    time.sleep(0.3)
    queue.scheduling()

    assert at_once == (False, [])
    assert [claim.webhook_id for claim in queue.claims] == [webhook_id]


def test_a_queue_that_is_away_leaves_claims_that_lapse(farm: Farm, hooks: Hooks) -> None:
    def refuse(_claim: Claim) -> None:
        raise RedisAway

    hooks.create(URL)
    farm.change(1)
    hooks.claim()
    hooks.execute("UPDATE webhooks SET claim = NULL, claimed_until = NULL")

    with pytest.raises(RedisAway):
        Scheduling(hooks.engine, Tip(), enqueue=refuse)()

    (row,) = hooks.execute("SELECT claimed_until - clock_timestamp() AS left FROM webhooks")
    assert 0 < row.left.total_seconds() <= 5


def test_a_run_waits_at_the_tip_until_there_is_more_or_its_thread_is_wanted() -> None:
    tip = Tip()
    began = time.monotonic()
    assert not tip.beyond(5, seconds=0.1)
    assert time.monotonic() - began >= 0.1

    threading.Timer(0.05, lambda: tip.tell(seq=6, crowded=False)).start()
    assert tip.beyond(5, seconds=5)
    threading.Timer(0.05, lambda: tip.tell(seq=6, crowded=True)).start()
    assert not tip.beyond(6, seconds=5)
    tip.stop()
    assert not tip.beyond(0, seconds=5)
    assert time.monotonic() - began < patience.limit(2)
