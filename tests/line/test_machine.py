"""The laws of the line hold whatever happens in whatever order, and a farm that breaks one is found."""

import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from domain.requests import dispatching, granting, matching, taking
from domain.requests.granting import Gift
from tests.line.machine import Line
from tests.line.model import Unlawful

EXAMPLES = 2_000 if os.environ.get("BOTFARM_HYPOTHESIS") == "long" else 200
PROFILE = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
# What is to be found need not be found in its smallest form.
CONTROL = settings(PROFILE, max_examples=1_000, phases=[Phase.generate], derandomize=True)


@pytest.fixture
def machine(engine: Engine) -> type[Line]:
    Line.passed.clear()
    return type("LineHere", (Line,), {"engine": engine})


@pytest.mark.timeout(1_800)
def test_nobody_holds_what_another_holds_and_nobody_is_overtaken(machine: type[Line]) -> None:
    run_state_machine_as_test(machine, settings=PROFILE)

    # It has really been everywhere: a machine that only refuses would pass too.
    for what in ("granted at once", "granted in line", "kept for the line", "refused", "repeated", "lapsed"):
        assert machine.passed[what] > EXAMPLES / 50, machine.passed


@pytest.mark.timeout(600)
def test_a_call_that_overtakes_the_line_is_found(machine: type[Line], monkeypatch: pytest.MonkeyPatch) -> None:
    overtaking = taking.CLAIM.replace(matching.NOT_KEPT, "true")
    assert overtaking != taking.CLAIM
    monkeypatch.setattr(taking, "CLAIM", overtaking)

    with pytest.raises(Unlawful, match="overtook"):
        run_state_machine_as_test(machine, settings=CONTROL)


@pytest.mark.timeout(600)
def test_a_pass_that_keeps_nothing_for_those_ahead_is_found(
    machine: type[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    def deal_without_keeping(rows: Sequence[Any]) -> tuple[list[Gift], bool]:
        taken: set[Any] = set()
        gifts = []
        for row in rows:
            mine = [user_id for user_id in row.ids if user_id not in taken][: row.wanted]
            if len(mine) == row.wanted:
                taken.update(mine)
                gifts += [Gift(row.id, row.request_id, user_id, row.single is not None) for user_id in mine]
        return gifts, False

    monkeypatch.setattr(dispatching, "deal", deal_without_keeping)

    with pytest.raises(Unlawful, match="overtook"):
        run_state_machine_as_test(machine, settings=CONTROL)


@pytest.mark.timeout(600)
def test_a_grant_of_less_than_all_is_found(machine: type[Line], monkeypatch: pytest.MonkeyPatch) -> None:
    partial = granting.GRANT.replace("HAVING count(l.id) = count(*)", "HAVING count(l.id) > 0")
    assert partial != granting.GRANT
    monkeypatch.setattr(granting, "GRANT", partial)
    monkeypatch.setattr(taking, "_enough", lambda mine, _ask: bool(mine))

    with pytest.raises(Unlawful, match="were granted"):
        run_state_machine_as_test(machine, settings=CONTROL)
