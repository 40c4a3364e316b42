"""Partitions ahead, old events gone, nothing dropped that is not on the stream."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from domain.configuration.settings import Settings
from domain.events import partitions
from domain.tables import relay_state
from tests import patience
from worker.duties import CLOSE_AFTER, Duties

MakeDuties = Callable[..., Duties]
OLD = text("""
INSERT INTO events (seq, epoch, event_id, type, data, occurred_at)
SELECT seq, 1, gen_random_uuid(), 'botfarm.user.created.v1', '{}', clock_timestamp() - interval '25 hours'
FROM generate_series(1, 2) AS seq
""")


@pytest.fixture
def duties(make_duties: MakeDuties) -> Duties:
    return make_duties(keep_count=1_000)


def _set(engine: Engine, *, last_seq: int, published_seq: int) -> None:
    with engine.begin() as conn:
        conn.execute(relay_state.update().values(last_seq=last_seq, published_seq=published_seq))


def _first_seqs(engine: Engine) -> list[int]:
    with engine.begin() as conn:
        return [partition.first_seq for partition in partitions.known(conn)]


def test_what_is_kept_is_what_the_readme_says() -> None:
    settings = Settings.model_fields

    assert (settings["events_keep_days"].default, settings["events_keep_count"].default) == (30, 50_000_000)
    assert partitions.SIZE == 1_000_000
    assert timedelta(days=1) == CLOSE_AFTER


def test_retention_makes_partitions_ahead_and_drops_old_ones(engine: Engine, duties: Duties) -> None:
    _set(engine, last_seq=1_500_000, published_seq=1_500_000)

    duties.retain()

    assert _first_seqs(engine) == [1_000_001, 2_000_001, 3_000_001]


def test_retention_drops_nothing_that_is_not_on_the_stream_yet(engine: Engine, duties: Duties) -> None:
    _set(engine, last_seq=1_500_000, published_seq=500_000)

    duties.retain()

    assert _first_seqs(engine)[0] == 1


def test_retention_may_be_run_any_number_of_times(engine: Engine, duties: Duties) -> None:
    _set(engine, last_seq=1_500_000, published_seq=1_500_000)
    duties.retain()
    once = _first_seqs(engine)

    assert duties.retain() is False

    assert _first_seqs(engine) == once


def test_retention_keeps_nobody_waiting_for_a_reader_that_takes_long(engine: Engine, duties: Duties) -> None:
    _set(engine, last_seq=1_500_000, published_seq=1_500_000)
    with engine.begin() as reader:
        reader.execute(text("SELECT count(*) FROM events"))

        began = time.monotonic()
        duties.retain()

        assert time.monotonic() - began < patience.limit(3)
        assert _first_seqs(engine) == [1, 1_000_001, 2_000_001, 3_000_001]

    duties.retain()

    assert _first_seqs(engine) == [1_000_001, 2_000_001, 3_000_001]


def test_retention_closes_a_partition_that_is_a_day_old(engine: Engine, duties: Duties) -> None:
    with engine.begin() as conn:
        conn.execute(OLD)
    _set(engine, last_seq=2, published_seq=2)

    duties.retain()

    assert _first_seqs(engine) == [1, 3, 1_000_001, 2_000_001]
