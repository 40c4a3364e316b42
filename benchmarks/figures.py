"""What is measured: samples, one a round, and what they come to."""

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of one round.

    `part` is the module that measured it, `measure` what ("lock changes", "latency p99"), `setting` under which
    circumstances ("32 clients"), `peer` whose it is: "botfarm", what it is compared with, or a variant ("1 M users").
    """

    part: str
    measure: str
    setting: str
    peer: str
    unit: str
    value: float


@dataclass(frozen=True)
class Setup:
    """What a part is given.

    `database_url` is a server on which databases may be made; `seconds` the length of one measured stretch; `quick`
    asks for everything small, to see that it works; `say` tells of progress.
    """

    database_url: str
    redis_url: str
    folder: Path
    rounds: int
    seconds: float
    quick: bool
    say: Callable[[str], None]
    without: frozenset[str] = frozenset()  # peers to leave out


@dataclass(frozen=True, slots=True)
class Figure:
    """The samples of all rounds under one name."""

    part: str
    measure: str
    setting: str
    peer: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """The distance from the lowest to the highest, in parts of the median; 0 for a single round."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0


class Table:
    """All figures, in the order in which their first samples came."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        found: dict[tuple[str, str, str, str], list[Sample]] = {}
        for sample in samples:
            found.setdefault((sample.part, sample.measure, sample.setting, sample.peer), []).append(sample)
        self._figures = {name: _figure(several) for name, several in found.items()}

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._figures.values())

    def find(self, *, part: str, measure: str, setting: str, peer: str) -> Figure | None:
        return self._figures.get((part, measure, setting, peer))


def ordered(figures: Iterable[Figure]) -> list[Figure]:
    """By measure and setting, each in the order in which they first came, so that the peers of one stand together."""
    figures = list(figures)
    measures = list(dict.fromkeys(figure.measure for figure in figures))
    settings = list(dict.fromkeys(figure.setting for figure in figures))
    return sorted(figures, key=lambda figure: (measures.index(figure.measure), settings.index(figure.setting)))


def _figure(samples: list[Sample]) -> Figure:
    first = samples[0]
    values = tuple(sample.value for sample in samples)
    return Figure(first.part, first.measure, first.setting, first.peer, first.unit, values)
