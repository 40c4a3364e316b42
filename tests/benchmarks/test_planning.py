"""A pool acquire's plan is the domain's own and read for what it is; its time is that of acquires that succeeded."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Engine, text

from benchmarks.failures import Unmeasured
from benchmarks.figures import Setup
from benchmarks.parts import plans
from domain.requests import taking
from tests.benchmarks.needs import names, needed


@pytest.fixture(scope="module")
def setup(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("bench")
    return Setup(postgres_url, "", folder, rounds=1, seconds=0.2, quick=True, say=lambda _: None)


@pytest.fixture(scope="module")
def scarce(setup: Setup) -> Iterator[Engine]:
    """As many free users as the largest of the pools takes, and as many more."""
    with plans.filled(setup, users=2_000, locked_percent=99) as engine:
        yield engine


def test_pool_acquires_are_timed_as_their_bars_need_and_leave_nothing_taken(setup: Setup, scarce: Engine) -> None:
    samples = list(plans.comparing(setup, scarce, scarce))

    assert needed("plans") <= names(samples)
    assert all(sample.value > 0 for sample in samples)
    with scarce.begin() as conn:
        assert conn.execute(text("SELECT count(*) FROM users WHERE lock_owner = 'bench'")).scalar_one() == 0


def test_the_plan_of_a_pool_acquire_is_shown_and_reads_users_by_their_index(setup: Setup, scarce: Engine) -> None:
    body: list[str] = []

    plans.explaining(replace(setup, say=body.append), scarce, count=10)

    plan, verdict = body
    assert re.search(r"Index Scan using users_available_at on users u .*actual .*rows=10", plan)
    assert verdict == "it reads users in the order of the partial index users_available_at, and in no other way"


def test_a_domain_that_asks_for_another_order_is_found_out(
    setup: Setup, scarce: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "CLAIM", taking.CLAIM.replace("ORDER BY u.available_at", "ORDER BY u.login"))

    with pytest.raises(Unmeasured, match="does not read users in the order of the index users_available_at"):
        plans.explaining(setup, scarce, count=10)


def test_a_farm_without_the_index_is_found_out_when_its_plan_has_been_shown(setup: Setup, scarce: Engine) -> None:
    body: list[str] = []
    with scarce.begin() as conn:
        definition = conn.execute(text("SELECT pg_get_indexdef('users_available_at'::regclass)")).scalar_one()
        conn.execute(text("DROP INDEX users_available_at"))

    with pytest.raises(Unmeasured, match="does not read users in the order of the index users_available_at"):
        plans.explaining(replace(setup, say=body.append), scarce, count=1)

    assert re.search(r"Scan .*on users u ", body[0])
    with scarce.begin() as conn:
        conn.execute(text(definition))


def test_a_farm_on_which_a_pool_acquire_is_refused_is_no_measurement(scarce: Engine) -> None:
    with pytest.raises(Unmeasured, match="a pool acquire of 100 users was refused: NoUserFree"):
        plans.cycle(scarce, count=100)
