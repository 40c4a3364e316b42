"""Renew at the edges: only a lease that is in force is renewed, and a late holder learns when and why it ended."""

import uuid
from datetime import timedelta
from uuid import UUID

import pytest

from domain.errors import LeaseLost, UserNotFound
from domain.locks import Renewal
from tests.domain.farms import BOB, ENDINGS, TTL, Farm


def test_renewing_a_live_lease_moves_its_end_and_keeps_its_token(farm: Farm, user_id: UUID) -> None:
    grant = farm.hold(user_id)

    renewal = farm.renew(user_id, grant.lease_id, ttl=timedelta(hours=1))

    assert isinstance(renewal, Renewal)
    assert renewal.lease_id == grant.lease_id
    assert renewal.user.lock is not None
    assert grant.user.lock is not None
    assert renewal.user.lock.token == grant.user.lock.token
    assert renewal.user.lock.acquired_at == grant.user.lock.acquired_at
    assert renewal.user.lock.expires_at == renewal.user.seen_at + timedelta(hours=1)
    assert farm.story(user_id) == ["created", "acquired", "renewed"]


def test_a_renewal_keeps_owner_and_metadata(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id, owner="ci-1", metadata={"branch": "main"}).lease_id

    renewal = farm.renew(user_id, lease_id)

    assert isinstance(renewal, Renewal)
    assert renewal.user.lock is not None
    assert (renewal.user.lock.owner, renewal.user.lock.metadata) == ("ci-1", {"branch": "main"})


def test_renewing_a_lapsed_lease_is_refused_as_expired_and_writes_nothing(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == ("expired", None)
    assert refusal.ended_at == farm.row(user_id)["lock_expires_at"]
    assert farm.picture(user_id) == before


@pytest.mark.parametrize(("how", "reason"), ENDINGS.items())
def test_renewing_the_lease_that_ended_last_is_refused_with_when_and_why(
    farm: Farm, user_id: UUID, how: str, reason: str
) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.end(user_id, lease_id, how)
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == (reason, None)
    assert refusal.note == ("stuck" if how == "forced" else None)
    assert refusal.ended_at == farm.row(user_id)["last_lease_ended_at"] is not None
    assert farm.picture(user_id) == before


@pytest.mark.parametrize(("how", "reason"), ENDINGS.items())
def test_renewing_an_ended_lease_never_touches_the_next_holder(
    farm: Farm, user_id: UUID, how: str, reason: str
) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.end(user_id, lease_id, how)
    farm.hold(user_id, principal=BOB, owner="job of bob")
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == (reason, "job of bob")
    assert farm.picture(user_id) == before


def test_renewing_a_lease_that_was_taken_over_is_refused_as_expired(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)
    expired_at = farm.row(user_id)["lock_expires_at"]
    farm.hold(user_id, principal=BOB, owner="job of bob")
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("expired", expired_at, "job of bob")
    assert farm.picture(user_id) == before


@pytest.mark.parametrize("taken_over", [False, True])
def test_the_note_of_a_forced_release_does_not_stick_to_the_next_lease(
    farm: Farm, user_id: UUID, *, taken_over: bool
) -> None:
    farm.hold(user_id)
    farm.force(user_id, note="stuck")
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)
    if taken_over:
        farm.hold(user_id, principal=BOB)
    else:
        farm.sweep()

    refusal = farm.renew(user_id, lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.note) == ("expired", None)


def test_renewing_an_unknown_lease_of_a_free_user_is_refused_as_unknown(farm: Farm, user_id: UUID) -> None:
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, uuid.uuid4())

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("unknown", None, None)
    assert farm.picture(user_id) == before


def test_renewing_an_unknown_lease_of_a_held_user_is_refused_as_unknown(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id)
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, uuid.uuid4())

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("unknown", None, "job of alice")
    assert farm.picture(user_id) == before


def test_another_principal_cannot_renew_with_the_right_live_lease(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, lease_id, principal=BOB)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("unknown", None, "job of alice")
    assert farm.picture(user_id) == before


def test_a_lapsed_lease_is_unknown_to_another_principal(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, lease_id, principal=BOB)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("unknown", None, None)
    assert farm.picture(user_id) == before


@pytest.mark.parametrize("how", ENDINGS)
def test_an_ended_lease_is_unknown_to_another_principal(farm: Farm, user_id: UUID, how: str) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.end(user_id, lease_id, how)
    before = farm.picture(user_id)

    refusal = farm.renew(user_id, lease_id, principal=BOB)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.note) == ("unknown", None, None)
    assert farm.picture(user_id) == before


def test_an_older_lease_than_the_one_remembered_is_unknown(farm: Farm, user_id: UUID) -> None:
    older = farm.hold(user_id).lease_id
    farm.release(user_id, older)
    newer = farm.hold(user_id).lease_id
    farm.release(user_id, newer)

    refusal = farm.renew(user_id, older)

    assert isinstance(refusal, LeaseLost)
    assert refusal.reason == "unknown"


def test_a_quarantined_user_keeps_its_lock_and_is_renewed(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.quarantine(user_id)

    renewal = farm.renew(user_id, lease_id)

    assert isinstance(renewal, Renewal)
    assert farm.story(user_id) == ["created", "acquired", "renewed"]


def test_a_shorter_ttl_brings_the_end_nearer_because_renewing_sets_and_never_adds(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id, ttl=TTL).lease_id

    renewal = farm.renew(user_id, lease_id, ttl=timedelta(seconds=10))

    assert isinstance(renewal, Renewal)
    assert renewal.user.lock is not None
    assert renewal.user.lock.expires_at == renewal.user.seen_at + timedelta(seconds=10)


def test_a_user_that_does_not_exist_is_not_found(farm: Farm) -> None:
    nobody = uuid.uuid4()

    refusal = farm.renew(nobody, uuid.uuid4())

    assert isinstance(refusal, UserNotFound)
    assert refusal.user_id == nobody
