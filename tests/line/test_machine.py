"""The laws of the line hold whatever happens in whatever order."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from tests.line.machine import Line

EXAMPLES = 2_000 if os.environ.get("BOTFARM_HYPOTHESIS") == "long" else 200


@pytest.fixture
def machine(engine: Engine) -> Iterator[type[Line]]:
    yield type("LineHere", (Line,), {"engine": engine})


@pytest.mark.timeout(1_800)
def test_nobody_holds_what_another_holds_and_nobody_is_overtaken(machine: type[Line]) -> None:
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=bool(os.environ.get("CI")),
    )

    run_state_machine_as_test(machine, settings=profile)  # type: ignore[no-untyped-call]

    assert machine.engine.pool.status()
