"""What a scenario yields, and what the bars need of it."""

from collections.abc import Iterable

from benchmarks.figures import Sample
from benchmarks.reports.targets import BARS, Name


def names(samples: Iterable[Sample]) -> set[Name]:
    return {Name(sample.part, sample.measure, sample.setting, sample.peer) for sample in samples}


def needed(part: str) -> set[Name]:
    """What the bars need of this part."""
    return {name for bar in BARS for name in (bar.of, bar.to) if name is not None and name.part == part}
