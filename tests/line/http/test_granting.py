"""Waiting in line: whoever waits is granted as soon as that is possible, whatever made it so."""

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from domain.configuration.settings import Settings
from standalone import ports
from tests import patience
from tests.api.farms import Farm, farming
from tests.api.locking.pools import Pool, ids, leases, new_pool, refused, stand, stand_for, state

SOON = 0.9  # well within a second, on a machine that does other things too


@pytest.fixture(scope="module")
def second(farm: Farm) -> Iterator[Farm]:
    """Another API on the same database."""
    with farming(farm.settings) as second:
        yield second


@pytest.fixture
def one(farm: Farm) -> Pool:
    """One user, held."""
    pool = new_pool(farm, 1, password="s3cret")
    pool.take()
    return pool


def release(pool: Pool) -> None:
    pool.farm.release(pool.user_ids[0])


def force_out(pool: Pool) -> None:
    pool.farm.release(pool.user_ids[0], force=True, reason="stuck")


def lapse(pool: Pool) -> None:
    pool.farm.lapse(pool.user_ids[0])


def create(pool: Pool) -> None:
    pool.farm.new_user(project_id=pool.project_id)


def move_here(pool: Pool) -> None:
    user_id = pool.farm.new_user(project_id=str(uuid.uuid4()))["id"]
    pool.farm.change(user_id, project_id=pool.project_id)


FREEING = [release, force_out, lapse, create, move_here]


@pytest.mark.parametrize("free", FREEING)
def test_a_pool_call_is_granted_as_soon_as_a_user_is_free(one: Pool, free: Callable[[Pool], None]) -> None:
    waiting = one.stand()

    free(one)

    (user_id,) = waiting.granted(seconds=SOON)
    assert user_id in one.locked()


@pytest.mark.parametrize("free", [release, force_out, lapse])
def test_a_call_for_one_user_is_granted_as_soon_as_it_is_free(one: Pool, free: Callable[[Pool], None]) -> None:
    waiting = stand_for(one.farm, one.user_ids[0])

    free(one)

    assert waiting.granted(seconds=SOON) == one.user_ids


@pytest.mark.parametrize("verb", ["by_owner", "by_lease"])
def test_a_release_of_many_is_noticed_too(farm: Farm, verb: str) -> None:
    pool = new_pool(farm, 3)
    owner = uuid.uuid4().hex
    held = pool.take(count=3, owner=owner)
    waiting = pool.stand(count=3)

    farm.release_all(**({"owner": owner} if verb == "by_owner" else {"leases": leases(held["users"])}))

    assert sorted(waiting.granted(seconds=SOON)) == sorted(pool.user_ids)


def test_a_lock_that_lapses_is_handed_on_without_anybody_doing_anything(farm: Farm) -> None:
    pool = new_pool(farm, 1)
    held = pool.take(ttl_seconds=1)["users"][0]

    (granted,) = pool.stand().answer(seconds=3).json()["users"]

    late = datetime.fromisoformat(granted["locktime"]) - datetime.fromisoformat(held["lock"]["expires_at"])
    assert timedelta(0) <= late < timedelta(seconds=patience.limit(SOON))
    assert farm.changes(held["id"]) == ["user.created", "lock.acquired", "lock.expired", "lock.acquired"]


def test_a_user_that_rests_after_a_lapse_is_handed_on_when_it_has_rested(settings: Settings) -> None:
    with farming(settings.model_copy(update={"lock_cooldown_seconds": 1})) as farm:
        pool = new_pool(farm, 1)
        held = pool.take()["users"][0]
        farm.lapse(held["id"])
        farm.execute("UPDATE users SET available_at = clock_timestamp() + interval '0.5 s'")
        single = stand_for(farm, held["id"])

        assert single.granted(seconds=0.5 + SOON) == [held["id"]]


def test_a_user_set_active_again_is_handed_on(farm: Farm) -> None:
    pool = new_pool(farm, 2)
    farm.change(pool.user_ids[0], status="quarantined")
    held = pool.take()["users"][0]
    waiting = pool.stand()

    farm.change(pool.user_ids[0], status="active")

    assert waiting.granted(seconds=SOON) == [pool.user_ids[0]]
    assert sorted(pool.locked()) == sorted([held["id"], pool.user_ids[0]])


def test_a_user_whose_labels_match_now_is_handed_on(farm: Farm) -> None:
    pool = new_pool(farm, 1, labels={"tier": "gold"})
    other = farm.new_user(project_id=pool.project_id)["id"]
    pool.take(labels={"tier": "gold"})
    waiting = pool.stand(labels={"tier": "gold"})

    farm.change(other, labels={"tier": "gold"})

    assert waiting.granted(seconds=SOON) == [other]


def test_a_request_nobody_could_serve_any_more_is_served_when_that_changes(one: Pool) -> None:
    farm, (user_id,) = one.farm, one.user_ids
    waiting = one.stand()
    farm.change(user_id, status="quarantined")
    farm.release(user_id)
    farm.sweep_line()
    assert state(farm, waiting.request_id) == "detached"

    farm.change(user_id, status="active")

    assert waiting.granted(seconds=1 + SOON) == [user_id]  # whether it can be served is judged every second


def test_what_was_kept_for_a_request_that_is_cancelled_is_handed_on(farm: Farm) -> None:
    pool = new_pool(farm, 2)
    pool.take()
    large = pool.stand(count=2)
    small = pool.stand()
    farm.hand_out()
    assert small.waits

    farm.cancel(large.request_id)

    assert small.granted(seconds=SOON)


def test_who_may_be_served_at_once_does_not_wait(farm: Farm) -> None:
    pool = new_pool(farm, 2)

    several = pool.ask(count=1, wait_seconds=60)
    single = farm.acquire(pool.user_ids[1], wait_seconds=60)

    assert [answer.status_code for answer in (several, single)] == [200, 200]
    assert max(several.elapsed, single.elapsed) < timedelta(seconds=patience.limit(SOON))


def test_a_quarantined_user_is_not_waited_for(one: Pool) -> None:
    one.farm.change(one.user_ids[0], status="quarantined")
    release(one)

    answer = one.farm.acquire(one.user_ids[0], wait_seconds=60)

    refused(answer, 409, "user-quarantined")
    assert answer.elapsed < timedelta(seconds=patience.limit(SOON))


def test_the_answer_after_waiting_is_that_of_a_call_that_did_not_wait(farm: Farm) -> None:
    pool = new_pool(farm, 1, password="s3cret")
    at_once = pool.take(owner="first")
    waiting = pool.stand(owner="ci-4711", ttl_seconds=60, metadata={"job": "17"})
    release(pool)

    answer = waiting.answer()

    granted = answer.json()
    assert set(granted) == set(at_once)
    assert set(granted["users"][0]) == set(at_once["users"][0])
    assert answer.headers["Cache-Control"] == "no-store"
    (user,) = granted["users"]
    assert user["password"] == "s3cret"
    assert user["lease_id"] == str(uuid.uuid5(uuid.UUID(waiting.request_id), user["id"]))
    assert (user["lock"]["owner"], user["lock"]["metadata"]) == ("ci-4711", {"job": "17"})
    assert user["lock"]["ttl_seconds"] == 60
    assert user["lock"]["token"] > at_once["users"][0]["lock"]["token"]


def test_after_waiting_for_one_user_its_lease_is_the_one_that_was_chosen(one: Pool) -> None:
    farm, (user_id,) = one.farm, one.user_ids
    waiting = stand_for(farm, user_id, owner="ci-4711", ttl_seconds=60)
    release(one)

    granted = waiting.answer().json()

    assert granted["lease_id"] == waiting.request_id
    assert granted["password"] == "s3cret"
    assert (granted["lock"]["owner"], granted["lock"]["ttl_seconds"]) == ("ci-4711", 60)
    assert farm.renew(user_id, lease_id=waiting.request_id).status_code == 200


def test_a_wait_is_served_by_what_is_freed_at_another_api(one: Pool, second: Farm) -> None:
    waiting = stand(second, project_id=one.project_id)

    release(one)

    assert waiting.granted(seconds=SOON) == one.user_ids


def test_without_redis_a_wait_takes_no_longer(one: Pool) -> None:
    farm = one.farm
    with farming(farm.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{ports.free()}/0"})) as alone:
        waiting = stand(alone, project_id=one.project_id)

        release(one)

        assert waiting.granted(seconds=SOON) == one.user_ids


def test_one_call_may_wait_at_two_apis_and_both_are_answered_alike(one: Pool, second: Farm) -> None:
    request_id = str(uuid.uuid4())
    here = one.stand(request_id=request_id)
    there = second.meanwhile(second.pool, project_id=one.project_id, request_id=request_id, wait_seconds=20)

    release(one)

    assert ids(here.answer(seconds=3).json()) == ids(there.result(patience.limit(3)).json()) == one.user_ids
    assert len(one.farm.changes(one.user_ids[0])) == 4


def test_of_two_calls_for_one_request_both_are_answered_alike(one: Pool) -> None:
    first = one.stand()
    again = one.stand(request_id=first.request_id)

    release(one)

    assert first.granted(seconds=SOON) == again.granted(seconds=SOON) == one.user_ids
