"""The samples of all rounds come to a median and a spread, under the name they were given."""

import pytest

from benchmarks.figures import Sample, Table, ordered


def samples(*values: float, peer: str = "botfarm", setting: str = "32 clients") -> list[Sample]:
    return [Sample("changes", "lock changes", setting, peer, "1/s", value) for value in values]


def test_the_median_of_the_rounds_is_what_a_figure_says() -> None:
    (figure,) = Table(samples(900, 5_000, 1_000))

    assert figure.median == 1_000
    assert figure.values == (900, 5_000, 1_000)


def test_the_spread_is_the_range_of_the_rounds_in_parts_of_the_median() -> None:
    (figure,) = Table(samples(800, 1_000, 1_100))

    assert figure.spread == pytest.approx(0.3)


def test_a_single_round_has_no_spread_and_a_median_of_zero_none_either() -> None:
    assert [figure.spread for figure in Table(samples(7))] == [0]
    assert [figure.spread for figure in Table(samples(0, 0, 5))] == [0]


def test_samples_of_different_peers_and_settings_are_never_thrown_together() -> None:
    mixed = [*samples(1, 3), *samples(100, peer="plain"), *samples(50, setting="1 client"), *samples(2)]

    table = Table(mixed)

    assert [(figure.peer, figure.setting, figure.median) for figure in table] == [
        ("botfarm", "32 clients", 2),
        ("plain", "32 clients", 100),
        ("botfarm", "1 client", 50),
    ]
    assert table.find(part="changes", measure="lock changes", setting="8 clients", peer="botfarm") is None


def test_figures_are_listed_by_measure_with_the_peers_of_a_setting_together() -> None:
    body = ((measure, setting, peer) for peer in "ab" for setting in ("1", "2") for measure in ("heap", "indexes"))

    table = Table(Sample("growth", measure, setting, peer, "B", 1) for measure, setting, peer in body)

    assert [(figure.measure, figure.setting, figure.peer) for figure in ordered(table)] == [
        *(("heap", "1", "a"), ("heap", "1", "b"), ("heap", "2", "a"), ("heap", "2", "b")),
        *(("indexes", "1", "a"), ("indexes", "1", "b"), ("indexes", "2", "a"), ("indexes", "2", "b")),
    ]
