"""The laws of locks: tokens, versions, cool-down, quarantine, projects and lifetimes."""

import uuid
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain import locks
from domain.errors import CoolingDown, LeaseLost, LifetimeExceeded, LockHeld, UserNotFound, UserQuarantined
from domain.locks import Grant, Released, Renewal
from tests.domain.farms import BOB, Farm

HOUR = timedelta(hours=1)


def test_fencing_tokens_grow_with_every_grant_however_the_last_one_ended(farm: Farm, user_id: UUID) -> None:
    tokens = []

    for how in ("released", "forced", "unclaimed", "swept"):
        grant = farm.hold(user_id)
        assert grant.user.lock is not None
        tokens.append(grant.user.lock.token)
        farm.end(user_id, grant.lease_id, how)

    assert tokens == sorted(set(tokens))


def test_the_token_is_the_version_at_the_grant_and_renewing_leaves_it(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id

    for _ in range(3):
        farm.renew(user_id, lease_id)

    row = farm.row(user_id)
    assert (row["lock_token"], row["lock_version"]) == (2, 5)
    assert [event.data["token"] for event in farm.events(user_id)[1:]] == [2, 2, 2, 2]


def test_every_change_adds_one_to_the_version_and_has_one_event(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.renew(user_id, lease_id)
    farm.release(user_id, lease_id)
    farm.hold(user_id)
    farm.force(user_id)
    farm.hold(user_id)
    farm.lapse(user_id)
    farm.sweep()

    story = farm.story(user_id)

    assert story == ["created", "acquired", "renewed", "released", "acquired", "released", "acquired", "expired"]


def test_a_lapsed_lock_is_taken_over_with_expired_for_the_old_and_acquired_for_the_new(
    farm: Farm, user_id: UUID
) -> None:
    old = farm.hold(user_id, owner="job of alice").lease_id
    farm.lapse(user_id)

    new = farm.hold(user_id, principal=BOB, owner="job of bob").lease_id

    assert farm.story(user_id) == ["created", "acquired", "expired", "acquired"]
    expired, acquired = farm.events(user_id)[2:]
    assert (expired.lease_id, expired.principal, expired.data["owner"]) == (old, "alice", "job of alice")
    assert (acquired.lease_id, acquired.principal, acquired.data["owner"]) == (new, "bob", "job of bob")
    assert (expired.data["token"], acquired.data["token"]) == (2, 4)
    assert expired.data["expires_at"] <= acquired.data["locktime"]


def test_a_lapsed_lock_is_over_at_once_without_any_sweep(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id)
    farm.lapse(user_id, ago=timedelta(microseconds=1))

    grant = farm.acquire(user_id, principal=BOB)

    assert isinstance(grant, Grant)


def test_after_an_expiry_the_user_rests_for_the_cooldown(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id, cooldown=HOUR)
    farm.lapse(user_id)
    before = farm.picture(user_id)

    refusal = farm.acquire(user_id, principal=BOB)

    assert isinstance(refusal, CoolingDown)
    assert refusal.available_at == farm.row(user_id)["lock_expires_at"] + HOUR
    assert 3_500 < refusal.retry_after_seconds <= 3_600
    assert farm.picture(user_id) == before


def test_a_sweep_does_not_cut_the_cooldown_short(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id, cooldown=HOUR)
    farm.lapse(user_id)
    farm.sweep()

    refusal = farm.acquire(user_id, principal=BOB)

    assert isinstance(refusal, CoolingDown)
    assert farm.story(user_id) == ["created", "acquired", "expired"]


def test_after_the_cooldown_the_user_is_granted_again(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id, cooldown=HOUR)
    farm.lapse(user_id)
    farm.age(user_id, by=HOUR)

    grant = farm.acquire(user_id, principal=BOB)

    assert isinstance(grant, Grant)


@pytest.mark.parametrize("how", ["released", "forced", "unclaimed"])
def test_there_is_no_cooldown_after_a_release(farm: Farm, user_id: UUID, how: str) -> None:
    lease_id = farm.hold(user_id, cooldown=HOUR).lease_id
    farm.end(user_id, lease_id, how)

    grant = farm.acquire(user_id, principal=BOB)

    assert isinstance(grant, Grant)


def test_a_renewal_sets_the_cooldown_of_the_new_end(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.renew(user_id, lease_id, cooldown=HOUR)
    farm.lapse(user_id)

    refusal = farm.acquire(user_id, principal=BOB)

    assert isinstance(refusal, CoolingDown)
    assert refusal.available_at == farm.row(user_id)["lock_expires_at"] + HOUR


def test_a_quarantined_user_is_not_granted_and_says_why(farm: Farm, user_id: UUID) -> None:
    farm.quarantine(user_id, reason="password changed by hand")
    before = farm.picture(user_id)

    refusal = farm.acquire(user_id)

    assert isinstance(refusal, UserQuarantined)
    assert refusal.status_reason == "password changed by hand"
    assert farm.picture(user_id) == before


def test_a_quarantined_user_keeps_its_lock_until_it_is_released(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.quarantine(user_id)

    again = farm.acquire(user_id, lease_id=lease_id)
    held = farm.acquire(user_id, principal=BOB)
    released = farm.release(user_id, lease_id)
    refused = farm.acquire(user_id, principal=BOB)

    assert isinstance(again, Grant)
    assert isinstance(held, LockHeld)
    assert isinstance(released, Released)
    assert isinstance(refused, UserQuarantined)


def test_a_lapsed_lock_of_a_quarantined_user_is_not_taken_over_but_swept(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id)
    farm.lapse(user_id)
    farm.quarantine(user_id)

    refusal = farm.acquire(user_id, principal=BOB)
    farm.sweep()

    assert isinstance(refusal, UserQuarantined)
    assert farm.story(user_id) == ["created", "acquired", "expired"]


@pytest.mark.parametrize("project_id", [uuid.uuid4(), None])
def test_a_user_outside_the_principals_projects_does_not_exist_for_it(farm: Farm, project_id: UUID | None) -> None:
    user_id = farm.add(project_id=project_id)
    lease_id = farm.hold(user_id).lease_id
    before = farm.picture(user_id)
    limits: dict[str, Any] = {"projects": frozenset({uuid.uuid4(), uuid.uuid4()})}

    refusals = [
        farm.acquire(user_id, lease_id=lease_id, **limits),
        farm.renew(user_id, lease_id, **limits),
        farm.release(user_id, lease_id, **limits),
        farm.release(user_id, reason="forced", note="stuck", **limits),
    ]

    assert [type(refusal) for refusal in refusals] == [UserNotFound] * 4
    assert farm.picture(user_id) == before


def test_a_principal_limited_to_no_project_at_all_sees_nobody(farm: Farm, user_id: UUID) -> None:
    refusal = farm.acquire(user_id, projects=[])

    assert isinstance(refusal, UserNotFound)


def test_a_user_inside_the_principals_projects_is_its_to_lock(farm: Farm) -> None:
    project_id = uuid.uuid4()
    user_id = farm.add(project_id=project_id)
    projects = [uuid.uuid4(), project_id]

    grant = farm.acquire(user_id, projects=projects)
    assert isinstance(grant, Grant)
    renewal = farm.renew(user_id, grant.lease_id, projects=projects)
    released = farm.release(user_id, grant.lease_id, projects=projects)

    assert isinstance(renewal, Renewal)
    assert isinstance(released, Released)


def test_no_renewal_keeps_a_lease_alive_beyond_its_longest_life(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id, ttl=HOUR).lease_id
    farm.age(user_id, by=timedelta(minutes=30))
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, lease_id, ttl=HOUR, lifetime_max=HOUR)

    assert isinstance(refusal, LifetimeExceeded)
    assert refusal.expires_at == farm.row(user_id)["lock_expires_at"]
    assert refusal.lifetime_max_seconds == 3_600
    assert farm.picture(user_id) == before


def test_a_renewal_within_the_longest_life_is_granted(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id, ttl=HOUR).lease_id
    farm.age(user_id, by=timedelta(minutes=30))

    renewal = farm.renew(user_id, lease_id, ttl=timedelta(minutes=29), lifetime_max=HOUR)

    assert isinstance(renewal, Renewal)


def test_the_longest_life_of_a_lapsed_lease_does_not_hide_that_it_is_lost(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)

    refusal = farm.renew(user_id, lease_id, ttl=HOUR, lifetime_max=timedelta(seconds=1))

    assert isinstance(refusal, LeaseLost)


def test_the_backlog_of_lapsed_locks_is_counted_with_the_age_of_the_oldest(own_farm: Farm) -> None:
    for seconds in (0, 5, 60):
        user_id = own_farm.add()
        own_farm.hold(user_id)
        if seconds:
            own_farm.lapse(user_id, ago=timedelta(seconds=seconds))

    count, oldest = own_farm.do(locks.lapsed)
    capped, _ = own_farm.do(lambda conn: locks.lapsed(conn, most=1))

    assert (count, capped) == (2, 1)
    assert oldest is not None
    assert 60 <= oldest < 90


def test_without_lapsed_locks_there_is_no_oldest(own_farm: Farm) -> None:
    own_farm.hold(own_farm.add())

    assert own_farm.do(locks.lapsed) == (0, None)
    assert own_farm.sweep() == 0
