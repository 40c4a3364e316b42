"""What all answers share."""

from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

from domain import snapshots
from domain.requests import Holder, Queued
from domain.statistics import Total


def fields_of(snapshot: snapshots.User | snapshots.Lock | Queued | Holder | Total) -> dict[str, Any]:
    names = type(snapshot).__slots__
    return dict(zip(names, _reader(names)(snapshot), strict=True))


@cache
def _reader(names: Sequence[str]) -> Callable[[object], Sequence[Any]]:
    """What reads all these fields in one go."""
    return attrgetter(*names)
