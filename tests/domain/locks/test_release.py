"""Release at the edges: a lease frees its own lock and no other; a bare release frees what its principal holds now."""

import uuid
from uuid import UUID

import pytest

from domain.errors import LeaseLost, NotLockHolder, UserNotFound
from domain.locks import Released
from tests.domain.farms import BOB, ENDINGS, Farm

LOST = {how: reason for how, reason in ENDINGS.items() if how != "released"}


def test_releasing_a_live_lease_frees_the_user_with_an_event(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id

    outcome = farm.release(user_id, lease_id)

    assert isinstance(outcome, Released)
    assert outcome.released
    assert outcome.user.lock is None
    assert farm.row(user_id)["available_at"] == outcome.user.seen_at
    assert farm.story(user_id) == ["created", "acquired", "released"]
    assert farm.events(user_id)[-1].data["reason"] == "holder"


def test_releasing_a_lapsed_lease_is_refused_as_expired_and_writes_nothing(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)
    before = farm.picture(user_id)

    refusal = farm.release(user_id, lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == ("expired", None)
    assert refusal.ended_at == farm.row(user_id)["lock_expires_at"]
    assert farm.picture(user_id) == before


def test_repeating_a_release_succeeds_and_writes_nothing(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.release(user_id, lease_id)
    before = farm.picture(user_id)

    outcome = farm.release(user_id, lease_id)

    assert isinstance(outcome, Released)
    assert not outcome.released
    assert farm.picture(user_id) == before


@pytest.mark.parametrize(("how", "reason"), LOST.items())
def test_releasing_a_lease_that_others_ended_is_refused_with_when_and_why(
    farm: Farm, user_id: UUID, how: str, reason: str
) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.end(user_id, lease_id, how)
    before = farm.picture(user_id)

    refusal = farm.release(user_id, lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == (reason, None)
    assert refusal.note == ("stuck" if how == "forced" else None)
    assert refusal.ended_at == farm.row(user_id)["last_lease_ended_at"] is not None
    assert farm.picture(user_id) == before


@pytest.mark.parametrize(("how", "reason"), LOST.items())
def test_a_late_release_never_frees_the_next_holder(farm: Farm, user_id: UUID, how: str, reason: str) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.end(user_id, lease_id, how)
    farm.hold(user_id, principal=BOB, owner="job of bob")
    before = farm.picture(user_id)

    refusal = farm.release(user_id, lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == (reason, "job of bob")
    assert farm.picture(user_id) == before


def test_a_repeated_release_never_frees_the_next_holder(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.release(user_id, lease_id)
    farm.hold(user_id, principal=BOB, owner="job of bob")
    before = farm.picture(user_id)

    outcome = farm.release(user_id, lease_id)

    assert isinstance(outcome, Released)
    assert not outcome.released
    assert outcome.user.lock is not None
    assert outcome.user.lock.owner == "job of bob"
    assert farm.picture(user_id) == before


def test_releasing_a_lease_that_was_taken_over_is_refused_as_expired(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)
    expired_at = farm.row(user_id)["lock_expires_at"]
    farm.hold(user_id, principal=BOB, owner="job of bob")
    before = farm.picture(user_id)

    refusal = farm.release(user_id, lease_id)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("expired", expired_at, "job of bob")
    assert farm.picture(user_id) == before


def test_releasing_an_unknown_lease_of_a_free_user_is_refused_as_unknown(farm: Farm, user_id: UUID) -> None:
    before = farm.picture(user_id)

    refusal = farm.release(user_id, uuid.uuid4())

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("unknown", None, None)
    assert farm.picture(user_id) == before


def test_releasing_an_unknown_lease_of_a_held_user_is_refused_as_unknown(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id)
    before = farm.picture(user_id)

    refusal = farm.release(user_id, uuid.uuid4())

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("unknown", None, "job of alice")
    assert farm.picture(user_id) == before


def test_another_principal_cannot_release_with_the_right_live_lease(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    before = farm.picture(user_id)

    refusal = farm.release(user_id, lease_id, principal=BOB)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.owner) == ("unknown", "job of alice")
    assert farm.picture(user_id) == before


def test_a_lapsed_lease_is_unknown_to_another_principal(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.lapse(user_id)
    before = farm.picture(user_id)

    refusal = farm.release(user_id, lease_id, principal=BOB)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.owner) == ("unknown", None, None)
    assert farm.picture(user_id) == before


@pytest.mark.parametrize("how", ENDINGS)
def test_an_ended_lease_is_unknown_to_another_principal(farm: Farm, user_id: UUID, how: str) -> None:
    lease_id = farm.hold(user_id).lease_id
    farm.end(user_id, lease_id, how)
    before = farm.picture(user_id)

    refusal = farm.release(user_id, lease_id, principal=BOB)

    assert isinstance(refusal, LeaseLost)
    assert (refusal.reason, refusal.ended_at, refusal.note) == ("unknown", None, None)
    assert farm.picture(user_id) == before


def test_a_grant_whose_caller_is_gone_is_undone_as_unclaimed(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id

    outcome = farm.release(user_id, lease_id, reason="unclaimed")

    assert isinstance(outcome, Released)
    assert outcome.released
    assert farm.events(user_id)[-1].data["reason"] == "unclaimed"
    assert farm.story(user_id) == ["created", "acquired", "released"]


def test_a_bare_release_of_ones_own_lock_frees_it(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id

    outcome = farm.release(user_id)

    assert isinstance(outcome, Released)
    assert outcome.released
    assert farm.story(user_id) == ["created", "acquired", "released"]
    assert (farm.events(user_id)[-1].lease_id, farm.events(user_id)[-1].data["reason"]) == (lease_id, "holder")


def test_a_bare_release_of_a_free_user_succeeds_and_writes_nothing(farm: Farm, user_id: UUID) -> None:
    before = farm.picture(user_id)

    outcome = farm.release(user_id)

    assert isinstance(outcome, Released)
    assert not outcome.released
    assert farm.picture(user_id) == before


@pytest.mark.parametrize("principal", ["alice", "bob"])
def test_a_bare_release_of_a_lapsed_lock_succeeds_and_writes_nothing(farm: Farm, user_id: UUID, principal: str) -> None:
    farm.hold(user_id)
    farm.lapse(user_id)
    before = farm.picture(user_id)

    outcome = farm.release(user_id, principal=principal)

    assert isinstance(outcome, Released)
    assert not outcome.released
    assert outcome.user.lock is None
    assert farm.picture(user_id) == before


def test_a_bare_release_of_anothers_lock_is_refused_with_its_owner(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id)
    before = farm.picture(user_id)

    refusal = farm.release(user_id, principal=BOB)

    assert isinstance(refusal, NotLockHolder)
    assert (refusal.user_id, refusal.owner) == (user_id, "job of alice")
    assert farm.picture(user_id) == before


def test_force_frees_anybodys_lock_and_the_note_is_kept(farm: Farm, user_id: UUID) -> None:
    lease_id = farm.hold(user_id).lease_id

    outcome = farm.force(user_id, note="the runner died")

    assert isinstance(outcome, Released)
    assert outcome.released
    assert farm.story(user_id) == ["created", "acquired", "released"]
    last = farm.events(user_id)[-1]
    assert (last.data["reason"], last.data["note"]) == ("forced", "the runner died")
    assert (last.lease_id, last.principal) == (lease_id, "admin")


def test_force_frees_ones_own_lock_too(farm: Farm, user_id: UUID) -> None:
    farm.hold(user_id)

    outcome = farm.release(user_id, reason="forced", note="oops")

    assert isinstance(outcome, Released)
    assert outcome.released
    assert farm.row(user_id)["last_lease_reason"] == "forced"


@pytest.mark.parametrize("lapsed", [False, True])
def test_force_on_a_user_that_nobody_holds_succeeds_and_writes_nothing(
    farm: Farm, user_id: UUID, *, lapsed: bool
) -> None:
    if lapsed:
        farm.hold(user_id)
        farm.lapse(user_id)
    before = farm.picture(user_id)

    outcome = farm.force(user_id)

    assert isinstance(outcome, Released)
    assert not outcome.released
    assert farm.picture(user_id) == before


def test_a_user_that_does_not_exist_is_not_found(farm: Farm) -> None:
    nobody = uuid.uuid4()

    refusals = [farm.release(nobody), farm.release(nobody, uuid.uuid4()), farm.force(nobody)]

    assert [type(refusal) for refusal in refusals] == [UserNotFound] * 3
