"""What is measured by itself, small and with controls: a crowd of streams, an open snapshot, a Redis that is away."""

import asyncio
import shutil
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from api.observability import health
from benchmarks.failures import Unmeasured
from benchmarks.farms.databases import new_database
from benchmarks.farms.farms import farming
from benchmarks.figures import Setup
from benchmarks.hardships import held_snapshot, redis_outage, streams
from benchmarks.hardships.streams import Client, Crowd
from benchmarks.load.relay_process import Rates
from standalone.servers.valkey import Valkey

pytestmark = pytest.mark.timeout(240)  # of which a machine with nothing else to do needs a tenth

EVENTS: dict[int, Any] = {seq: SimpleNamespace(seq=seq, at=time.time(), project_id="one") for seq in (1, 2, 3)}


@pytest.fixture
def setup(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("alone")
    return Setup(postgres_url, redis_url, folder, rounds=1, seconds=1, quick=True, say=lambda _: None)


def test_a_crowd_of_streams_loses_nothing_and_costs_no_connection_each(setup: Setup) -> None:
    with farming(setup, users=0, api_workers=1) as farm:
        crowds = asyncio.run(streams.run(farm, clients=30, seconds=1))

    assert [crowd.name for crowd in crowds] == ["unfiltered", "own project"]
    for crowd in crowds:
        crowd.require()
        assert crowd.connections < 30
        assert "RSS" in str(crowd)


def crowd_of(*got: int, encoded: int = 3, hung_up_on: int = 0) -> Crowd:
    client = Client("/", project_id="one", got=[(seq, time.time()) for seq in got])
    figures: dict[str, Any] = {"seconds": 1, "changes": 3, "sent": 3, "cores": 0.1, "connections": 2, "rss": (1, 2, 3)}
    return Crowd("a few", events=EVENTS, clients=[client], encoded=encoded, hung_up_on=hung_up_on, **figures)


def test_a_crowd_that_got_everything_is_fine() -> None:
    crowd_of(1, 2, 3).require()


@pytest.mark.parametrize(
    "crowd",
    [
        crowd_of(1, 3),
        crowd_of(1, 2),
        crowd_of(1, 2, 2, 3),
        crowd_of(2, 1, 3),
        crowd_of(1, 2, 3, encoded=6),
        crowd_of(1, 2, 3, hung_up_on=1),
    ],
    ids=["gap", "end", "repeat", "order", "encoded twice", "hung up on"],
)
def test_a_crowd_that_lacks_anything_is_no_measurement(crowd: Crowd) -> None:
    with pytest.raises(Unmeasured, match="a few"):
        crowd.require()


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> pytest.CaptureFixture[str]:
    monkeypatch.setattr(health, "OLD_SECONDS", health.OLD_SECONDS)  # which the measurement shortens
    return capsys


def test_a_snapshot_held_open_is_named_while_everything_goes_on(
    setup: Setup, printed: pytest.CaptureFixture[str]
) -> None:
    with new_database(setup.database_url, pool_size=4) as engine:
        held_snapshot.run(engine, setup.redis_url, seconds=6)

    body = printed.readouterr().out
    assert f"application {held_snapshot.NAME}" in body
    assert "of before" in body


@pytest.mark.parametrize(
    ("health", "rate", "wrong"),
    [
        ({"oldest_transaction_seconds": 60.0}, Rates(1, 1, 1), "does not name"),
        ({"oldest_transaction": "pid 1, application nightly-report"}, Rates(1, 1, 0), "stands still"),
        ({"oldest_transaction": "pid 1, application nightly-report"}, Rates(0, 1, 1), "stands still"),
    ],
)
def test_an_old_transaction_that_nobody_names_or_that_stops_something_is_found_out(
    health: dict[str, Any], rate: Rates, wrong: str
) -> None:
    with pytest.raises(Unmeasured, match=wrong):
        held_snapshot.require(health, [Rates(1, 1, 1), rate])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_outage, "WARM_UP_SECONDS", 1)
    monkeypatch.setattr(redis_outage, "USERS", 200)


@pytest.mark.usefixtures("small")
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_locking_goes_on_without_redis_and_while_the_backlog_is_drained(setup: Setup) -> None:
    found = redis_outage.measure(replace(setup, redis_url=""), events=3_000)

    assert found.backlog >= 2_000  # the relay has begun when it is looked at
    assert min(found.before, found.down, found.drain, found.meanwhile, found.after) > 0
    assert "of the mean of before and after" in str(found)


def test_a_stream_that_lacks_an_event_is_found_out(own_valkey: Valkey) -> None:
    with pytest.raises(Unmeasured, match="0 of 1 events"):
        redis_outage.require_whole(own_valkey, "nothing", last_seq=1)
