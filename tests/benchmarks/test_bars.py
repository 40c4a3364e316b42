"""A bar is reached by figures that say so, and by nothing else: least of all by figures that are not there."""

import dataclasses

from benchmarks.figures import Sample, Table
from benchmarks.reports.targets import BARS, Bar, Name, Verdict, judge

OURS = Name("changes", "lock changes", "32 clients", "botfarm")
THEIRS = dataclasses.replace(OURS, peer="plain")
FOUR_TIMES = Bar("botfarm / plain", OURS, THEIRS, 4.0)
HALF_AS_LONG = Bar("p99", OURS, THEIRS, 0.5, "at most")


def verdict(bar: Bar, **values: list[float]) -> Verdict:
    table = Table(
        Sample("changes", "lock changes", "32 clients", peer, "1/s", value)
        for peer, rounds in values.items()
        for value in rounds
    )
    (found,) = judge([bar], table)
    return found


def test_a_ratio_at_its_bound_is_reached() -> None:
    found = verdict(FOUR_TIMES, botfarm=[4_000, 4_400, 3_900], plain=[1_000, 1_000, 1_000])

    assert (found.value, found.word) == (4.0, "reached")


def test_a_ratio_below_its_bound_is_missed_by_what_it_says() -> None:
    found = verdict(FOUR_TIMES, botfarm=[3_900, 3_999, 4_100], plain=[1_000, 1_000, 1_000])

    assert (found.value, found.word, found.reached) == (3.999, "missed", False)
    assert (found.lowest, found.highest) == (3.9, 4.1)


def test_a_bar_of_at_most_is_missed_by_more() -> None:
    assert verdict(HALF_AS_LONG, botfarm=[5], plain=[10]).word == "reached"
    assert verdict(HALF_AS_LONG, botfarm=[6], plain=[10]).word == "missed"


def test_a_bar_without_a_comparison_bounds_the_figure_itself() -> None:
    bar = Bar("p99", OURS, None, 100, "at most", "ms")

    assert verdict(bar, botfarm=[90, 99, 300]).word == "reached"
    assert verdict(bar, botfarm=[90, 101, 300]).word == "missed"


def test_a_bar_whose_figures_are_missing_is_not_measured_and_never_reached() -> None:
    for bar in (FOUR_TIMES, HALF_AS_LONG):
        found = verdict(bar, botfarm=[0.0])

        assert (found.word, found.value, found.reached, found.missing) == ("not measured", None, False, (THEIRS,))


def test_a_comparison_with_nothing_is_not_measured_either() -> None:
    found = verdict(FOUR_TIMES, botfarm=[100], plain=[0])

    assert (found.word, found.reached) == ("not measured", False)


def test_rounds_that_do_not_pair_give_no_range() -> None:
    found = verdict(FOUR_TIMES, botfarm=[10, 12], plain=[1])

    assert (found.word, found.lowest, found.highest) == ("reached", None, None)


def test_of_an_empty_run_no_bar_is_reached() -> None:
    found = judge(BARS, Table([]))

    assert len(found) == len(BARS) > 0
    assert {each.word for each in found} == {"not measured"}
