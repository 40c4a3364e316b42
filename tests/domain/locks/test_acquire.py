"""Acquire at the edges: what a lease that comes back is told, in whatever state it finds its user."""

import uuid
from uuid import UUID

import pytest

from domain.errors import LeaseLost, LockHeld, UserNotFound
from domain.locks import Grant
from tests.domain.farms import BOB, ENDINGS, Farm


def test_a_free_user_is_granted_with_all_that_its_holder_needs(farm: Farm) -> None:
    user_id = farm.add(password="s3cret")

    grant = farm.acquire(user_id, owner="ci-4711", metadata={"branch": "main"})

    assert isinstance(grant, Grant)
    assert not grant.again
    assert grant.password_sealed is not None
    assert farm.ring.unseal(grant.password_sealed, user_id=user_id) == "s3cret"
    assert grant.user.lock is not None
    assert (grant.user.lock.owner, grant.user.lock.metadata) == ("ci-4711", {"branch": "main"})
    assert grant.user.lock.acquired_at == grant.user.seen_at
    assert grant.user.lock.ttl_seconds == 900
    assert grant.user.lock.token == grant.user.lock_version == 2
    assert farm.story(user_id) == ["created", "acquired"]


def test_acquiring_again_with_a_live_lease_returns_the_same_lease_and_writes_nothing(farm: Farm, user_id: UUID) -> None:
    first = farm.hold(user_id)
    before = farm.picture(user_id)

    again = farm.acquire(user_id, lease_id=first.lease_id, owner="another name")

    assert isinstance(again, Grant)
    assert again.again
    assert again.lease_id == first.lease_id
    assert again.user.lock is not None
    assert first.user.lock is not None
    assert again.user.lock.token == first.user.lock.token
    assert again.user.lock.expires_at == first.user.lock.expires_at
    assert again.user.lock.owner == first.user.lock.owner
    assert farm.picture(user_id) == before


def test_a_repeated_acquire_is_given_the_password_again(farm: Farm) -> None:
    user_id = farm.add(password="s3cret")
    first = farm.hold(user_id)

    again = farm.hold(user_id, lease_id=first.lease_id)

    assert again.password_sealed == first.password_sealed is not None


def test_acquiring_with_a_lapsed_lease_is_refused_as_expired(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)
    before = farm.picture(user_id)

    refusal = farm.acquire(user_id, lease_id=lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == ("expired", None)
    assert refusal.ended_at == farm.row(user_id)["lock_expires_at"]
    assert farm.picture(user_id) == before


@pytest.mark.parametrize(("how", "reason"), ENDINGS.items())
def test_acquiring_with_the_lease_that_ended_last_is_refused_with_when_and_why(
    farm: Farm, user_id: UUID, how: str, reason: str
) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.end(user_id, lease_id, how)
    before = farm.picture(user_id)

    refusal = farm.acquire(user_id, lease_id=lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == (reason, None)
    assert refusal.note == ("stuck" if how == "forced" else None)
    assert refusal.ended_at == farm.row(user_id)["last_lease_ended_at"] is not None
    assert farm.picture(user_id) == before


@pytest.mark.parametrize(("how", "reason"), ENDINGS.items())
def test_acquiring_with_an_ended_lease_names_who_holds_the_user_now(
    farm: Farm, user_id: UUID, how: str, reason: str
) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.end(user_id, lease_id, how)
    farm.hold(user_id, principal=BOB, owner="job of bob")
    before = farm.picture(user_id)

    refusal = farm.acquire(user_id, lease_id=lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == (reason, "job of bob")
    assert farm.picture(user_id) == before


def test_acquiring_with_a_lease_that_was_taken_over_is_refused_as_expired(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)
    expired_at = farm.row(user_id)["lock_expires_at"]
    farm.hold(user_id, principal=BOB, owner="job of bob")
    before = farm.picture(user_id)

    refusal = farm.acquire(user_id, lease_id=lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("expired", expired_at, "job of bob")
    assert farm.picture(user_id) == before


def test_acquiring_a_held_user_is_refused_with_its_holder_and_when_to_ask_again(farm: Farm, user_id: UUID) -> None:
    held = farm.hold(user_id, principal=BOB, owner="job of bob")
    before = farm.picture(user_id)

    refusal = farm.acquire(user_id)

    assert held.user.lock is not None
    assert isinstance(refusal, LockHeld)
    assert (refusal.user_id, refusal.owner) == (user_id, "job of bob")
    assert refusal.expires_at == held.user.lock.expires_at
    assert 0 < refusal.retry_after_seconds <= 900
    assert farm.picture(user_id) == before


def test_a_holder_that_acquires_under_a_new_lease_is_refused_like_anybody(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id)
    before = farm.picture(user_id)

    refusal = farm.acquire(user_id)

    assert isinstance(refusal, LockHeld)
    assert refusal.owner == "job of alice"
    assert farm.picture(user_id) == before


def test_a_live_lease_used_by_another_principal_is_a_held_lock(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    before = farm.picture(user_id)

    refusal = farm.acquire(user_id, lease_id=lease_id, principal=BOB)

    assert isinstance(refusal, LockHeld)
    assert refusal.owner == "job of alice"
    assert farm.picture(user_id) == before


def test_another_principal_with_a_lapsed_lease_takes_the_user_over(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)

    grant = farm.acquire(user_id, lease_id=lease_id, principal=BOB)

    assert isinstance(grant, Grant)
    assert not grant.again
    assert farm.story(user_id) == ["created", "acquired", "expired", "acquired"]


@pytest.mark.parametrize("how", ENDINGS)
def test_another_principal_with_an_ended_lease_is_granted_as_with_a_new_one(
    farm: Farm, user_id: UUID, how: str
) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.end(user_id, lease_id, how)
    story = farm.story(user_id)

    grant = farm.acquire(user_id, lease_id=lease_id, principal=BOB)

    assert isinstance(grant, Grant)
    assert not grant.again
    assert farm.story(user_id) == [*story, "acquired"]


def test_only_one_ended_lease_is_remembered_and_an_older_one_is_granted_again(farm: Farm, user_id: UUID) -> None:
    older = farm.hold(user_id).lease_id
    farm.release(user_id, older)
    newer = farm.hold(user_id).lease_id
    farm.release(user_id, newer)

    grant = farm.acquire(user_id, lease_id=older)

    assert isinstance(grant, Grant)
    assert not grant.again
    assert farm.story(user_id) == ["created", *["acquired", "released"] * 2, "acquired"]


def test_a_user_that_does_not_exist_is_not_found(farm: Farm) -> None:
    nobody = uuid.uuid4()

    refusal = farm.acquire(nobody)

    assert isinstance(refusal, UserNotFound)
    assert refusal.user_id == nobody
    assert farm.events(nobody) == []
