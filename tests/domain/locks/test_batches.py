"""Batches: one outcome a request, in order, and no request disturbs its neighbours."""

import random
import uuid
from datetime import timedelta
from uuid import UUID

from domain.errors import (
    LeaseLost,
    LifetimeExceeded,
    LockHeld,
    NotLockHolder,
    UserNotFound,
    UserQuarantined,
)
from domain.locks import Grant, Release, Released, Renew, Renewal
from tests.domain.farms import ALICE, BOB, TTL, Farm, acquire


def test_of_several_requests_for_one_user_the_first_wins(farm: Farm, user_id: UUID) -> None:
    requests = [acquire(user_id, owner=f"job {number}") for number in range(3)]

    first, *others = farm.acquire_all(requests)

    assert isinstance(first, Grant)
    assert first.lease_id == requests[0].lease_id
    for other in others:
        assert isinstance(other, LockHeld)
        assert other.owner == "job 0"
        assert 0 < other.retry_after_seconds <= TTL.total_seconds()
    assert farm.story(user_id) == ["created", "acquired"]


def test_the_first_that_may_have_the_user_wins_over_an_earlier_that_may_not(farm: Farm) -> None:
    project_id = uuid.uuid4()
    user_id = farm.add(project_id=project_id)

    foreign, lawful = farm.acquire_all(
        [acquire(user_id, projects=[uuid.uuid4()]), acquire(user_id, projects=[project_id])]
    )

    assert isinstance(foreign, UserNotFound)
    assert isinstance(lawful, Grant)
    assert farm.story(user_id) == ["created", "acquired"]


def test_the_same_lease_twice_in_a_batch_is_granted_once_and_recognised_once(farm: Farm, user_id: UUID) -> None:
    request = acquire(user_id)

    first, second = farm.acquire_all([request, request])

    assert isinstance(first, Grant)
    assert isinstance(second, Grant)
    assert (first.again, second.again) == (False, True)
    assert first.user.lock == second.user.lock
    assert farm.story(user_id) == ["created", "acquired"]


def test_the_same_lease_of_two_principals_in_a_batch_goes_to_the_first(farm: Farm, user_id: UUID) -> None:
    lease_id = uuid.uuid4()

    first, second = farm.acquire_all(
        [acquire(user_id, lease_id=lease_id), acquire(user_id, lease_id=lease_id, principal=BOB)]
    )

    assert isinstance(first, Grant)
    assert isinstance(second, LockHeld)


def test_in_one_batch_a_lapsed_lock_is_taken_over_once_and_its_old_lease_refused(farm: Farm, user_id: UUID) -> None:
    old = farm.hold(user_id).lease_id
    farm.lapse(user_id)

    late, taker, third = farm.acquire_all(
        [acquire(user_id, lease_id=old), acquire(user_id, principal=BOB), acquire(user_id)]
    )

    assert isinstance(late, LeaseLost)
    assert isinstance(taker, Grant)
    assert isinstance(third, LockHeld)
    assert farm.story(user_id) == ["created", "acquired", "expired", "acquired"]


def test_one_lease_id_may_hold_several_users(farm: Farm) -> None:
    user_ids, lease_id = [farm.add() for _ in range(3)], uuid.uuid4()

    outcomes = farm.acquire_all([acquire(user_id, lease_id=lease_id) for user_id in user_ids])

    assert all(isinstance(outcome, Grant) and not outcome.again for outcome in outcomes)


def test_acquire_answers_in_the_order_of_the_requests_with_each_its_own_outcome(farm: Farm) -> None:
    free, held, quarantined, nobody = farm.add(), farm.add(), farm.add(), uuid.uuid4()
    farm.hold(held, principal=BOB)
    farm.quarantine(quarantined)
    expected = {free: Grant, held: LockHeld, quarantined: UserQuarantined, nobody: UserNotFound}
    order = random.sample(list(expected), k=4)

    outcomes = farm.acquire_all([acquire(user_id) for user_id in order])

    assert [type(outcome) for outcome in outcomes] == [expected[user_id] for user_id in order]
    assert [_user_id(outcome) for outcome in outcomes] == order


def test_renew_answers_in_order_and_a_lost_lease_does_not_disturb_its_neighbours(farm: Farm) -> None:
    held, lapsed, bounded = farm.add(), farm.add(), farm.add()
    leases = {user_id: farm.hold(user_id).lease_id for user_id in (held, lapsed, bounded)}
    farm.lapse(lapsed)

    outcomes = farm.renew_all(
        [
            Renew(bounded, leases[bounded], ALICE, TTL, lifetime_max=timedelta(seconds=5)),
            Renew(uuid.uuid4(), uuid.uuid4(), ALICE, TTL),
            Renew(held, leases[held], ALICE, TTL),
            Renew(lapsed, leases[lapsed], ALICE, TTL),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [LifetimeExceeded, UserNotFound, Renewal, LeaseLost]
    assert [farm.story(user_id)[2:] for user_id in (bounded, held, lapsed)] == [[], ["renewed"], []]


def test_of_several_renewals_of_one_lease_the_last_counts_for_all(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    ttls = [timedelta(seconds=seconds) for seconds in (600, 60, 120)]

    outcomes = farm.renew_all([Renew(user_id, lease_id, ALICE, ttl) for ttl in ttls])

    ends = {o.user.lock.expires_at - o.user.seen_at for o in outcomes if isinstance(o, Renewal) and o.user.lock}
    assert len(outcomes) == 3
    assert ends == {timedelta(seconds=120)}
    assert farm.story(user_id) == ["created", "acquired", "renewed"]


def test_release_answers_in_order_and_a_refusal_does_not_disturb_its_neighbours(farm: Farm) -> None:
    mine, bobs, free = farm.add(), farm.add(), farm.add()
    lease_id = farm.hold(mine).lease_id
    farm.hold(bobs, principal=BOB)

    outcomes = farm.release_all(
        [
            Release(bobs, ALICE),
            Release(uuid.uuid4(), ALICE),
            Release(free, ALICE, uuid.uuid4()),
            Release(mine, ALICE, lease_id),
            Release(free, ALICE),
        ]
    )

    assert [type(outcome) for outcome in outcomes] == [NotLockHolder, UserNotFound, LeaseLost, Released, Released]
    assert [outcome.released for outcome in outcomes if isinstance(outcome, Released)] == [True, False]
    assert farm.story(mine) == ["created", "acquired", "released"]
    assert farm.story(bobs) == ["created", "acquired"]


def test_two_releases_of_one_lease_in_a_batch_free_it_once(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id

    outcomes = farm.release_all([Release(user_id, ALICE, lease_id)] * 2)

    assert [o.released for o in outcomes if isinstance(o, Released)] == [True, False]
    assert farm.story(user_id) == ["created", "acquired", "released"]


def test_a_bare_release_beside_the_release_of_the_lease_frees_it_once(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id

    outcomes = farm.release_all([Release(user_id, ALICE), Release(user_id, ALICE, lease_id)])

    assert [o.released for o in outcomes if isinstance(o, Released)] == [True, False]
    assert farm.story(user_id) == ["created", "acquired", "released"]


def test_a_holder_that_releases_in_the_batch_that_forces_it_out_has_lost_its_lease(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id

    forced, late = farm.release_all(
        [Release(user_id, "admin", reason="forced", note="stuck"), Release(user_id, ALICE, lease_id)]
    )

    assert isinstance(forced, Released)
    assert forced.released
    assert isinstance(late, LeaseLost)
    assert (late.reason, late.note, late.owner) == ("forced", "stuck", None)
    assert late.ended_at == forced.user.seen_at
    assert farm.story(user_id) == ["created", "acquired", "released"]


def test_a_force_after_the_holders_release_in_one_batch_has_nothing_left_to_end(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id

    outcomes = farm.release_all(
        [Release(user_id, ALICE, lease_id), Release(user_id, "admin", reason="forced", note="stuck")]
    )

    assert [o.released for o in outcomes if isinstance(o, Released)] == [True, False]
    assert farm.events(user_id)[-1].data["reason"] == "holder"


def test_a_large_batch_is_one_statement_and_every_user_is_granted(farm: Farm) -> None:
    user_ids = [farm.add() for _ in range(60)]

    outcomes = farm.acquire_all([acquire(user_id) for user_id in user_ids * 2])

    granted, refused = outcomes[:60], outcomes[60:]
    assert all(isinstance(outcome, Grant) for outcome in granted)
    assert all(isinstance(outcome, LockHeld) for outcome in refused)


def test_metadata_notes_and_owners_keep_any_character(farm: Farm) -> None:
    text = """ünï "quoted" 'single' {curly} \\ % %s %(x)s $1 ?, NULL 🦊"""
    user_id = farm.add(labels={text: text})

    grant = farm.hold(user_id, owner=text, principal=text, metadata={text: text})
    farm.release(user_id, principal="admin", reason="forced", note=text)

    assert grant.user.lock is not None
    assert (grant.user.lock.owner, grant.user.lock.metadata, grant.user.labels) == (text, {text: text}, {text: text})
    assert farm.events(user_id)[-1].data["note"] == text


def test_an_empty_batch_is_answered_with_nothing(farm: Farm) -> None:
    assert farm.acquire_all([]) == []
    assert farm.renew_all([]) == []
    assert farm.release_all([]) == []


def _user_id(outcome: Grant | Exception) -> UUID:
    if isinstance(outcome, Grant):
        return outcome.user.id
    found: UUID = getattr(outcome, "user_id")  # noqa: B009  -- every refusal here names its user
    return found
