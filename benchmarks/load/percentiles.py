"""Latencies as samples: the median, the 99th percentile and, where one that is late already matters, the highest."""

import math
from collections.abc import Iterable, Iterator

from benchmarks.figures import Sample


def percentile(values: Iterable[float], percent: float) -> float:
    """The lowest value that so many percent of them do not exceed (nearest rank). Raises ValueError for none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def samples(
    values_ms: Iterable[float], *, part: str, measure: str, setting: str, highest: bool = False
) -> Iterator[Sample]:
    """`measure` with p50, p99 and, if wanted, max behind it."""
    values = list(values_ms)
    percents = {"p50": 50, "p99": 99} | ({"max": 100} if highest else {})
    for name, percent in percents.items():
        yield Sample(part, f"{measure} {name}", setting, "botfarm", "ms", percentile(values, percent))
