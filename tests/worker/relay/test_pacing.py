"""The relay gives way to locking while it drains a backlog, and only then."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.worker.farms import Farm
from worker.duties import Duties
from worker.loops import _publishing
from worker.relay import pacing
from worker.relay.pacing import BURST, LEAD, LONGEST_SECONDS, SHARE, Pace, rest_after
from worker.relay.relay import BATCH

MakeDuties = Callable[..., Duties]
LARGE = BURST + 1


@dataclass
class Clock:
    """Moved by hand."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rate_when_paced(*, events: int, took: float, rate: float) -> float:
    """Events a second of a relay that rests after every batch."""
    return events / (took + rest_after(events=events, took=took, rate=rate))


def test_a_relay_rests_for_most_of_its_time_while_few_changes_come() -> None:
    rest = rest_after(events=500, took=0.02, rate=10)

    assert 0.02 / (0.02 + rest) == pytest.approx(SHARE)


@pytest.mark.parametrize("took", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("rate", [1, 100, 1_000, 3_000])
def test_a_relay_is_always_faster_than_changes_come(took: float, rate: float) -> None:
    assert rate_when_paced(events=500, took=took, rate=rate) >= LEAD * rate * 0.999


def test_a_relay_that_can_hardly_keep_up_does_not_rest() -> None:
    assert rest_after(events=500, took=0.2, rate=3_000) == 0


def test_a_relay_does_not_rest_while_nothing_is_changed() -> None:
    assert rest_after(events=500, took=0.02, rate=0) == 0


def test_a_batch_that_a_hanging_server_kept_is_followed_by_no_long_rest() -> None:
    assert rest_after(events=500, took=15, rate=1) == LONGEST_SECONDS


def pace_after(clock: Clock, *numbers: int) -> Pace:
    """These were the last numbers given, second by second; then a batch was full, with a backlog behind it."""
    pace = Pace(clock=clock)
    for numbered in numbers:
        clock.now += 1
        pace.note(numbered=numbered)
    pace.filled(events=500, took=0.02, waiting=LARGE)
    return pace


def test_the_rest_is_over_when_its_time_is(clock: Clock) -> None:
    pace = pace_after(clock, 1_000, 1_010)
    rest = pace.rest
    clock.now += rest / 2

    assert rest == pytest.approx(rest_after(events=500, took=0.02, rate=10))
    assert pace.rest == pytest.approx(rest / 2)
    clock.now += rest
    assert pace.rest == 0


def test_changes_of_long_ago_are_not_given_way_to(clock: Clock) -> None:
    assert pace_after(clock, 0, 1_000, 1_000, 1_000).rest == 0


def test_a_database_set_back_is_no_rate(clock: Clock) -> None:
    assert pace_after(clock, 1_000, 10).rest == 0


@pytest.fixture
def duties(make_duties: MakeDuties) -> Duties:
    return make_duties()


@pytest.fixture
def small_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "BURST", BATCH)


def pile_up(farm: Farm, duties: Duties, *, changes: int) -> None:
    farm.change(changes)
    while duties.sequence():
        pass


def go_on(farm: Farm, duties: Duties, clock: Clock) -> None:
    """A second passes, in which one more change is made and numbered."""
    clock.now += 1
    farm.change(1)
    duties.sequence()


@pytest.mark.usefixtures("small_burst")
def test_a_backlog_is_drained_with_rests_that_no_kick_cuts_short_while_changes_come(
    farm: Farm, duties: Duties, clock: Clock
) -> None:
    publish = _publishing(duties, Pace(clock=clock))
    pile_up(farm, duties, changes=5 * BATCH)
    assert publish() == 0  # the first batch knows of no changes
    go_on(farm, duties, clock)

    rest = publish()
    published = farm.state.published_seq
    kicked = [publish() for _ in range(3)]

    assert rest > 0
    assert kicked == [rest] * 3
    assert farm.state.published_seq == published == 2 * BATCH
    clock.now += rest
    assert publish() > 0
    assert farm.state.published_seq == 3 * BATCH


def drain(publish: Callable[[], float], farm: Farm) -> list[float]:
    pauses = []
    while farm.state.published_seq < farm.state.last_seq:
        pauses.append(publish())
    return pauses


@pytest.mark.usefixtures("small_burst")
def test_a_backlog_is_drained_at_once_while_nothing_is_changed(farm: Farm, duties: Duties, clock: Clock) -> None:
    publish = _publishing(duties, Pace(clock=clock))
    pile_up(farm, duties, changes=5 * BATCH)

    assert drain(publish, farm) == [0] * 5


def test_a_burst_is_published_at_once_though_changes_come(farm: Farm, duties: Duties, clock: Clock) -> None:
    publish = _publishing(duties, Pace(clock=clock))
    pile_up(farm, duties, changes=4 * BATCH)
    assert publish() == 0
    go_on(farm, duties, clock)

    assert drain(publish, farm)[:3] == [0] * 3
