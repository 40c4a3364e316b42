"""Any sequence of calls on one lock answers and writes what the model says."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from domain import errors
from domain.locks import Grant, Released, Renewal
from tests.domain.farms import Farm, acquire
from tests.domain.locks import models
from tests.domain.locks.models import Claim

HOUR = timedelta(hours=1)

claims = st.builds(Claim, st.sampled_from([UUID(int=number) for number in range(4)]), st.sampled_from(["alice", "bob"]))


class OneLock(RuleBasedStateMachine):
    farm: Farm

    def __init__(self) -> None:
        super().__init__()
        self.model = models.Lock()
        self.user_id = self.farm.add()

    @rule(claims=st.lists(claims, min_size=1, max_size=3), cooldown=st.booleans())
    def acquire(self, *, claims: list[Claim], cooldown: bool) -> None:
        wishes: dict[str, Any] = {"cooldown": HOUR if cooldown else timedelta(0)}
        requests = [acquire(self.user_id, lease_id=c.lease_id, principal=c.principal, **wishes) for c in claims]

        outcomes = self.farm.acquire_all(requests)

        assert [name_of(outcome) for outcome in outcomes] == self.model.acquire(claims, cooldown=cooldown)

    @rule(claim=claims, cooldown=st.booleans())
    def renew(self, *, claim: Claim, cooldown: bool) -> None:
        rest = HOUR if cooldown else timedelta(0)

        outcome = self.farm.renew(self.user_id, claim.lease_id, principal=claim.principal, cooldown=rest)

        assert name_of(outcome) == self.model.renew(claim, cooldown=cooldown)

    @precondition(lambda self: self.model.held is not None)
    @rule(data=st.data())
    def renew_or_release_as_the_holder(self, *, data: st.DataObject) -> None:
        """So that runs do not spend all their calls on strangers."""
        assert self.model.held is not None
        self.renew(claim=self.model.held.by, cooldown=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            self.release(claim=self.model.held.by, reason="holder")

    @rule(claim=claims, reason=st.sampled_from(["holder", "unclaimed"]))
    def release(self, *, claim: Claim, reason: str) -> None:
        outcome = self.farm.release(self.user_id, claim.lease_id, principal=claim.principal, reason=reason)

        remembered = "released" if reason == "holder" else reason
        assert name_of(outcome) == self.model.release(claim, reason=remembered)

    @rule(principal=st.sampled_from(["alice", "bob"]))
    def release_bare(self, *, principal: str) -> None:
        outcome = self.farm.release(self.user_id, principal=principal)

        assert name_of(outcome) == self.model.release_bare(principal)

    @rule()
    def force(self) -> None:
        outcome = self.farm.force(self.user_id)

        assert name_of(outcome) == self.model.force()

    @precondition(lambda self: self.model.live)
    @rule()
    def lapse(self) -> None:
        self.farm.lapse(self.user_id)
        self.model.lapse()

    @rule()
    def sweep(self) -> None:
        self.farm.sweep()
        self.model.sweep()

    @precondition(lambda self: not self.model.live)
    @rule()
    def let_the_cooldown_pass(self) -> None:
        self.farm.age(self.user_id, by=2 * HOUR)
        self.model.resting = False
        if self.model.held is not None:
            self.model.held.cooldown = False

    @rule(quarantined=st.booleans())
    def set_status(self, *, quarantined: bool) -> None:
        self.farm.set(self.user_id, status="quarantined" if quarantined else "active")
        self.model.quarantined = quarantined

    @invariant()
    def each_change_has_its_event_and_versions_have_no_gap(self) -> None:
        assert self.farm.story(self.user_id) == self.model.story

    @invariant()
    def the_row_has_the_one_holder_of_the_model(self) -> None:
        row, held = self.farm.row(self.user_id), self.model.held

        assert (row["lease_id"], row["lock_principal"]) == (
            (held.by.lease_id, held.by.principal) if held else (None, None)
        )
        assert held is None or row["lock_token"] == held.token

    @invariant()
    def tokens_grow(self) -> None:
        granted = [e.data["token"] for e in self.farm.events(self.user_id) if e.type == "botfarm.lock.acquired.v1"]

        assert granted == self.model.tokens == sorted(set(granted))


def name_of(outcome: object) -> str:
    """An outcome in the model's words."""
    match outcome:
        case Grant(again=again):
            return "again" if again else "granted"
        case Released(released=released):
            return "released" if released else "already"
        case Renewal():
            return "renewed"
        case errors.LeaseLost(reason=reason):
            return f"lost: {reason}"
    names = {
        errors.LockHeld: "lock-held",
        errors.NotLockHolder: "not-lock-holder",
        errors.UserQuarantined: "user-quarantined",
        errors.CoolingDown: "cooling-down",
    }
    return names[type(outcome)]


@pytest.mark.timeout(7_200)  # with BOTFARM_HYPOTHESIS=long
def test_any_sequence_of_calls_on_one_lock_follows_the_model(farm: Farm) -> None:
    machine = type("Machine", (OneLock,), {"farm": farm})
    examples = hypothesis.settings().max_examples // 4

    run_state_machine_as_test(machine, settings=hypothesis.settings(max_examples=examples, stateful_step_count=30))


class ForgetfulModel(models.Lock):
    """Of another law: an ended lease is never remembered."""

    def why_lost(self, claim: Claim) -> str:
        return "expired" if self.is_own(claim) else "unknown"


def test_negative_control_a_model_of_another_law_is_found_out(farm: Farm) -> None:
    class Machine(OneLock):
        def __init__(self) -> None:
            super().__init__()
            self.model = ForgetfulModel()

    Machine.farm = farm
    unshrunk = hypothesis.settings(phases=[hypothesis.Phase.generate], database=None, max_examples=50)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Machine, settings=unshrunk)
