"""The scenarios of the benchmark measure what they say: small, on a farm of real processes."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from benchmarks.failures import Unmeasured
from benchmarks.farms import without_redis
from benchmarks.farms.databases import fill, user_ids
from benchmarks.farms.farms import Farm, farming
from benchmarks.figures import Sample, Setup
from benchmarks.load.backlog import make
from benchmarks.load.random_load import storm
from benchmarks.parts import contention, costs, events, growth, handover, reads
from standalone.servers.valkey import Valkey
from tests.benchmarks.needs import names, needed

USERS = 400  # 128 clients need one each
FREE = 10  # fewer than wait for them
SMALL = contention.Sizes(pool=USERS, large=USERS, small=USERS, clients=8)
# Says it is ready, later where there is no data folder yet, and waits.
STARTING = """
import pathlib, sys, time
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
data = pathlib.Path(words["--data-dir"])
time.sleep(0 if data.exists() else 0.5)
data.mkdir(exist_ok=True)
pathlib.Path(words["--ready-file"]).touch()
time.sleep(60)
"""


@pytest.fixture(scope="module")
def setup(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("bench")
    return Setup(postgres_url, redis_url, folder, rounds=1, seconds=1, quick=True, say=lambda _: None)


@pytest.fixture(scope="module")
def farm(setup: Setup) -> Iterator[Farm]:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    with farming(setup, users=USERS, api_workers=1, environment=events.environment()) as running:
        yield running


def test_open_streams_cost_memory(setup: Setup, farm: Farm) -> None:
    samples = list(reads.remembering(setup, farm))

    idle, _, crowded, _ = (sample.value for sample in samples)
    assert [sample.measure for sample in samples] == 2 * ["memory of the API", "memory of the worker"]
    assert crowded > idle > 10_000_000


def test_reads_yield_what_their_bar_needs(setup: Setup, farm: Farm) -> None:
    assert needed("reads") <= names(list(reads.reading(setup, farm)))


def test_a_hot_user_has_one_holder_at_a_time(setup: Setup, farm: Farm) -> None:
    samples = list(contention.fighting(setup, farm))

    found = {sample.measure: sample.value for sample in samples}
    assert found["refusals"] > found["grants"] > 0
    assert found["latency p99"] >= found["latency p50"] > 0


def test_pools_yield_what_their_bar_needs(setup: Setup, farm: Farm) -> None:
    samples = list(contention.comparing(setup, farm, farm, sizes=SMALL))

    assert needed("contention") <= names(samples)
    assert all(sample.value > 0 for sample in samples if sample.measure == "pool acquires")


def test_events_reach_all_who_listen_and_a_backlog_is_drained(
    setup: Setup, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "RATES", (1_000,))
    monkeypatch.setattr(events, "WEBHOOK_RATES", (100,))
    users = user_ids(farm.engine, most=USERS)

    samples = [
        *events.listening(setup, farm, users),
        *events.calling(setup, farm, users),
        *events.draining(setup, farm, users),
    ]

    assert needed("events") <= names(samples)
    assert all(sample.value > 0 for sample in samples)
    kinds = {sample.measure for sample in samples if sample.measure.endswith("p99")}
    assert kinds == {"change to stream p99", "change to SSE p99", "change to webhook p99"}


@pytest.fixture(scope="module")
def stranded(setup: Setup) -> Iterator[Farm]:
    with without_redis.without_redis(setup, users=USERS, api_workers=1) as running:
        yield running


def test_hand_overs_with_redis_and_without_yield_what_their_bars_need(setup: Setup, farm: Farm, stranded: Farm) -> None:
    samples: list[Sample] = []
    for each, besides in ((farm, ""), (stranded, ", Redis stopped")):
        fill(each.engine, count=FREE, locked_percent=0, env="line")
        samples += handover.handing_over(setup, each, hold_seconds=0.3, env="line", besides=besides)

    assert needed("handover") <= names(samples)
    handed_on = [sample.value for sample in samples if sample.measure == "hand-overs"]
    assert len(handed_on) == 2
    most = FREE * (1 + 1 / 0.3)  # a second may begin just before all of them are handed on at once
    assert all(0 < value < most for value in handed_on)


def test_a_farm_that_has_its_redis_is_not_measured_as_one_without(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    without_redis.insist(farm, redis="ok")
    monkeypatch.setattr(without_redis, "NOTICE_SECONDS", 0)

    with pytest.raises(Unmeasured, match="Redis should be down, but the API finds it ok"):
        without_redis.insist(farm, redis="down")


def test_a_redis_that_comes_back_makes_what_was_measured_worthless(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unmeasured, match="Redis should be down, but the API finds it ok"):
        come_back(setup, tmp_path / "valkey", monkeypatch)


def come_back(setup: Setup, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack, without_redis.without_redis(setup, users=1, api_workers=1, worker=False) as running:
        returned = Valkey(folder, port=urlsplit(running.redis_url).port or 0)
        stack.callback(returned.kill)
        returned.start()
        without_redis.insist(running, redis="ok")
        monkeypatch.setattr(without_redis, "NOTICE_SECONDS", 0)


def test_every_lock_that_lapses_has_its_event_after_its_expiry(setup: Setup, farm: Farm) -> None:
    samples = list(handover.expiring(setup, farm, count=USERS))

    found = {sample.measure: sample.value for sample in samples}
    assert 0 <= found["expiry to event p50"] <= found["expiry to stream p50"] <= found["expiry to stream max"]


def test_expiries_are_measured_without_redis_too_but_for_what_only_its_stream_tells(
    setup: Setup, stranded: Farm
) -> None:
    samples = list(handover.expiring(setup, stranded, count=USERS))

    assert [sample.measure for sample in samples] == [f"expiry to event {name}" for name in ("p50", "p99", "max")]
    assert 0 <= samples[0].value <= samples[2].value


def test_growth_yields_what_its_bars_need(setup: Setup, farm: Farm) -> None:
    scale = growth.Scale(large=USERS, small=USERS, users=USERS, cycles=200, stretches=2)

    samples = [*growth.changing(setup, farm, farm, large_first=False), *growth.living(setup, scale)]

    assert needed("growth") <= names(samples)
    assert [sample.peer for sample in samples][:2] == ["1 k users", "1 M users"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_start_is_timed_until_the_ready_file_is_there(setup: Setup, tmp_path: Path) -> None:
    """With a stand-in: that a farm starts is proved elsewhere."""
    program, makefile = tmp_path / "program.py", tmp_path / "Makefile"
    program.write_text(STARTING)
    makefile.write_text(f"up:\n\t@exec {sys.executable} {program} $(ARGS)\n")

    new, existing = reads.starting(setup, ["make", "--silent", "-f", str(makefile), "up"], number=0)

    assert new.value >= 0.5
    assert existing.value > 0
    assert (new.setting, existing.setting) == ("new data folder", "existing data folder")


def test_a_start_that_ends_is_no_measurement(setup: Setup) -> None:
    with pytest.raises(Unmeasured, match="ended with 3"):
        list(reads.starting(setup, [sys.executable, "-c", "import sys; sys.exit(3)"], number=1))


def test_a_storm_on_a_user_that_does_not_exist_is_no_measurement(farm: Farm) -> None:
    with pytest.raises(Unmeasured, match="user-not-found"):
        storm(farm.url, farm.key, kind="locks", clients=4, seconds=1, user_ids=[uuid4()])


def test_a_pool_without_a_free_user_is_no_measurement(farm: Farm) -> None:
    with pytest.raises(Unmeasured, match="no-matching-user"):
        storm(farm.url, farm.key, kind="pool", clients=4, seconds=1, query='"env":"nowhere"')


def test_a_paced_call_that_is_refused_is_no_measurement(setup: Setup, farm: Farm) -> None:
    with pytest.raises(Unmeasured, match="refused"):
        events.pace(setup, farm, [uuid4()], rate=10)


def test_a_backlog_with_refused_changes_is_no_measurement(farm: Farm) -> None:
    with pytest.raises(Unmeasured, match="refused"):
        make(farm.engine, [uuid4()], changes=2)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_change_costs_something_of_every_kind(setup: Setup) -> None:
    samples = list(costs.measure(setup))

    assert {(sample.measure, sample.unit, sample.peer) for sample in samples} == set(costs.KINDS.values())
    assert all(sample.value > 0 for sample in samples)
    assert 100 < sum(sample.value for sample in samples if sample.unit == "µs") < 100_000
