"""Partitions of events: there before they are needed, gone as a whole, and never in anybody's way."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from domain.errors import CursorTooOld
from domain.events import epochs, feed, partitions
from domain.events.feed import Filter
from domain.events.partitions import Partition
from tests import patience
from tests.domain.farms import Farm

MILLION = 1_000_000
FIRST = Partition("events_p0000000000000000001", 1, MILLION + 1)
SECOND = Partition("events_p0000000000001000001", MILLION + 1, 2 * MILLION + 1)
THIRD = Partition("events_p0000000000002000001", 2 * MILLION + 1, 3 * MILLION + 1)

WRITE = text("""
INSERT INTO events (seq, epoch, event_id, type, data, occurred_at)
VALUES (:seq, 1, gen_random_uuid(), 'botfarm.user.created.v1', '{}', clock_timestamp() - :age)
""")


def write(farm: Farm, seq: int, *, age: timedelta = timedelta(0)) -> None:
    farm.do(lambda conn: conn.execute(WRITE, {"seq": seq, "age": age}))


def reach(farm: Farm, *, last_seq: int, published_seq: int | None = None) -> None:
    """Let the relay have come that far."""
    state = {"last": last_seq, "published": last_seq if published_seq is None else published_seq}
    statement = text("UPDATE relay_state SET last_seq = :last, published_seq = :published")
    farm.do(lambda conn: conn.execute(statement, state))


def drop(farm: Farm, *, keep: timedelta = timedelta(days=30), keep_count: int = 50 * MILLION) -> list[Partition]:
    return farm.do(lambda conn: partitions.drop_old(conn, keep=keep, keep_count=keep_count))


def test_a_new_farm_has_two_partitions_and_needs_no_more(new_farm: Farm) -> None:
    assert new_farm.do(partitions.known) == [FIRST, SECOND]
    assert new_farm.do(partitions.make_ahead) == []


def test_two_empty_partitions_are_kept_ahead_of_the_numbers(new_farm: Farm) -> None:
    reach(new_farm, last_seq=1)

    made = new_farm.do(partitions.make_ahead)
    again = new_farm.do(partitions.make_ahead)

    assert (made, again) == ([THIRD], [])
    assert new_farm.do(partitions.known) == [FIRST, SECOND, THIRD]


def test_a_relay_that_ran_far_ahead_gets_all_partitions_that_are_missing(new_farm: Farm) -> None:
    reach(new_farm, last_seq=2 * MILLION)

    made = new_farm.do(partitions.make_ahead)

    assert [partition.first_seq for partition in made] == [2 * MILLION + 1, 3 * MILLION + 1]


def test_a_partition_made_ahead_takes_events_and_has_every_index(new_farm: Farm) -> None:
    reach(new_farm, last_seq=1)
    new_farm.do(partitions.make_ahead)

    write(new_farm, THIRD.first_seq)
    write(new_farm, THIRD.end_seq - 1)

    indexes = text(
        "SELECT tablename, count(*) AS indexes FROM pg_indexes WHERE tablename LIKE 'events_p%' GROUP BY tablename"
    )
    counts = {row.tablename: row.indexes for row in new_farm.do(lambda conn: conn.execute(indexes).all())}
    assert counts == {FIRST.name: 2, SECOND.name: 2, THIRD.name: 2}
    assert new_farm.do(feed.oldest_seq) == THIRD.first_seq


def test_workers_that_make_partitions_at_once_make_each_once(new_farm: Farm) -> None:
    reach(new_farm, last_seq=1)
    with ThreadPoolExecutor(1) as pool, new_farm.engine.connect() as slow:
        first = partitions.make_ahead(slow)
        second = pool.submit(lambda: new_farm.do(partitions.make_ahead))
        new_farm.await_waiting()
        slow.commit()

    assert (first, second.result()) == ([THIRD], [])
    assert new_farm.do(partitions.known) == [FIRST, SECOND, THIRD]


def test_making_partitions_waits_for_no_reader_and_no_writer(new_farm: Farm) -> None:
    reach(new_farm, last_seq=1)
    with new_farm.engine.begin() as busy:
        busy.execute(WRITE, {"seq": 1, "age": timedelta(0)})
        busy.execute(text("SELECT count(*) FROM events"))

        made = new_farm.do(partitions.make_ahead)

    assert made == [THIRD]


def test_a_full_partition_older_than_the_time_to_keep_is_dropped(new_farm: Farm) -> None:
    write(new_farm, MILLION, age=timedelta(days=31))
    write(new_farm, MILLION + 1)
    reach(new_farm, last_seq=MILLION + 1)

    assert drop(new_farm) == [FIRST]
    assert new_farm.do(partitions.known) == [SECOND]
    assert new_farm.do(feed.oldest_seq) == MILLION + 1


def test_a_partition_whose_last_event_is_young_is_kept_whole(new_farm: Farm) -> None:
    write(new_farm, 1, age=timedelta(days=99))
    write(new_farm, MILLION, age=timedelta(days=29))
    write(new_farm, MILLION + 1)
    reach(new_farm, last_seq=MILLION + 1)

    assert drop(new_farm) == []
    assert new_farm.do(feed.oldest_seq) == 1


def test_a_partition_behind_the_newest_events_to_keep_is_dropped_whatever_its_age(new_farm: Farm) -> None:
    write(new_farm, MILLION)
    write(new_farm, MILLION + 2)
    reach(new_farm, last_seq=MILLION + 2)

    kept = drop(new_farm, keep_count=3)
    dropped = drop(new_farm, keep_count=2)

    assert (kept, dropped) == ([], [FIRST])


def test_events_that_are_not_on_the_stream_yet_are_kept_whatever_their_age(new_farm: Farm) -> None:
    write(new_farm, MILLION, age=timedelta(days=99))
    write(new_farm, MILLION + 1, age=timedelta(days=99))
    reach(new_farm, last_seq=MILLION + 1, published_seq=MILLION - 1)

    assert drop(new_farm, keep_count=1) == []


def test_the_partition_that_is_being_filled_is_never_dropped(new_farm: Farm) -> None:
    write(new_farm, 5, age=timedelta(days=99))
    reach(new_farm, last_seq=5)

    assert drop(new_farm, keep_count=1) == []
    assert new_farm.do(partitions.known) == [FIRST, SECOND]


def test_a_cursor_into_a_dropped_partition_is_too_old(new_farm: Farm) -> None:
    write(new_farm, MILLION, age=timedelta(days=31))
    write(new_farm, MILLION + 1)
    reach(new_farm, last_seq=MILLION + 1)
    drop(new_farm)

    with pytest.raises(CursorTooOld) as raised:
        new_farm.do(lambda conn: feed.read(conn, after="1-5", limit=10, by=Filter()))

    assert raised.value.oldest == f"1-{MILLION}"


def test_dropping_gives_up_soon_when_somebody_reads_for_long_and_is_done_later(new_farm: Farm) -> None:
    write(new_farm, MILLION, age=timedelta(days=31))
    write(new_farm, MILLION + 1)
    reach(new_farm, last_seq=MILLION + 1)
    with new_farm.engine.begin() as reader:
        reader.execute(text("SELECT count(*) FROM events"))

        with pytest.raises(OperationalError, match=r"lock timeout|statement timeout"):
            drop(new_farm)

    assert drop(new_farm) == [FIRST]


DAY = timedelta(days=1)


def close(farm: Farm) -> Partition | None:
    return farm.do(lambda conn: partitions.close_old(conn, after=DAY))


def test_a_partition_that_is_a_day_old_ends_at_the_last_number_and_the_next_one_goes_on(new_farm: Farm) -> None:
    write(new_farm, 1, age=timedelta(days=1, seconds=1))
    write(new_farm, 2)
    reach(new_farm, last_seq=2)

    following = close(new_farm)

    assert following == Partition("events_p0000000000000000003", 3, MILLION + 1)
    assert new_farm.do(partitions.known) == [Partition(FIRST.name, 1, 3), following, SECOND]
    write(new_farm, 3)
    read = new_farm.do(lambda conn: conn.execute(text("SELECT tableoid::regclass::text FROM events ORDER BY seq")))
    assert list(read.scalars()) == [FIRST.name, FIRST.name, following.name]


def test_a_partition_is_closed_once_a_day(new_farm: Farm) -> None:
    write(new_farm, 1, age=2 * DAY)
    reach(new_farm, last_seq=1)

    first, second = close(new_farm), close(new_farm)
    write(new_farm, 2, age=2 * DAY)
    reach(new_farm, last_seq=2)
    third = close(new_farm)

    assert (first, second) == (Partition("events_p0000000000000000002", 2, MILLION + 1), None)
    assert third == Partition("events_p0000000000000000003", 3, MILLION + 1)


def test_a_partition_that_is_younger_than_a_day_or_empty_is_left_open(new_farm: Farm) -> None:
    assert close(new_farm) is None

    write(new_farm, 1, age=timedelta(hours=23))
    reach(new_farm, last_seq=1)

    assert close(new_farm) is None
    assert new_farm.do(partitions.known) == [FIRST, SECOND]


def test_a_closed_partition_has_its_indexes_and_is_dropped_when_its_time_is_over(new_farm: Farm) -> None:
    write(new_farm, 1, age=31 * DAY)
    reach(new_farm, last_seq=1)
    following = close(new_farm)
    assert following is not None
    write(new_farm, 2)
    write(new_farm, 3)
    reach(new_farm, last_seq=3)

    assert drop(new_farm) == [Partition(FIRST.name, 1, 2)]
    assert new_farm.do(feed.oldest_seq) == 2
    indexes = text("SELECT count(*) FROM pg_indexes WHERE tablename = :name")
    assert new_farm.do(lambda conn: conn.execute(indexes, {"name": following.name}).scalar_one()) == 2


def test_closing_and_the_relay_take_turns(new_farm: Farm) -> None:
    """The relay is in the middle of a batch: closing waits, and the batch is in the partition that ends with it."""
    write(new_farm, 1, age=2 * DAY)
    reach(new_farm, last_seq=1)
    with ThreadPoolExecutor(1) as pool, new_farm.engine.connect() as relay:
        epochs.lock(relay)
        relay.execute(WRITE, {"seq": 2, "age": timedelta(0)})
        relay.execute(text("UPDATE relay_state SET last_seq = 2"))
        closing = pool.submit(close, new_farm)
        new_farm.await_waiting()
        relay.commit()

    assert closing.result() == Partition("events_p0000000000000000003", 3, MILLION + 1)


def test_closing_gives_up_soon_when_somebody_reads_for_long_and_is_done_later(new_farm: Farm) -> None:
    write(new_farm, 1, age=2 * DAY)
    reach(new_farm, last_seq=1)
    with new_farm.engine.begin() as reader:
        reader.execute(text("SELECT count(*) FROM events"))

        started = time.monotonic()
        with pytest.raises(OperationalError, match=r"lock timeout|statement timeout"):
            close(new_farm)
        assert time.monotonic() - started < patience.limit(2)
        write(new_farm, 2)  # nobody was left in the way
        reach(new_farm, last_seq=2)

    assert close(new_farm) is not None


def test_a_reader_and_a_relay_at_full_speed_notice_nothing_of_partitions_that_close(new_farm: Farm) -> None:
    """Numbers go on without a gap, and no reader ever misses one that it has seen."""
    write(new_farm, 1, age=2 * DAY)
    reach(new_farm, last_seq=1)
    stopping = threading.Event()
    failures: list[str] = []

    def relay() -> None:
        while not stopping.is_set():
            with new_farm.engine.begin() as conn:
                seq = epochs.lock(conn).last_seq + 1
                conn.execute(WRITE, {"seq": seq, "age": 2 * DAY})
                conn.execute(text("UPDATE relay_state SET last_seq = :seq"), {"seq": seq})

    def reader() -> None:
        seen = 0
        while not stopping.is_set():
            row = new_farm.do(lambda conn: conn.execute(text("SELECT count(*), max(seq) FROM events")).one())
            if row[0] != row[1] or row[1] < seen:
                failures.append(f"{row} after {seen}")
            seen = row[1]

    with ThreadPoolExecutor(2) as pool:
        work = [pool.submit(relay), pool.submit(reader)]
        closed = [close(new_farm) for _ in range(20)]
        stopping.set()
        for future in work:
            future.result()

    assert not failures
    assert sum(partition is not None for partition in closed) > 5
    known = new_farm.do(partitions.known)
    assert all(before.end_seq == after.first_seq for before, after in itertools.pairwise(known))
