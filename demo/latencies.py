"""How long things took."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from demo.events import CHANGES, Event
from demo.journals import Entry

CALLS = {
    "acquired": "acquire, granted",
    "refused": "acquire, refused",
    "renewed": "renew",
    "released": "release",
}


@dataclass(frozen=True)
class Sample:
    """Seconds of one kind, in rising order."""

    name: str
    seconds: Sequence[float]

    def percentile(self, percent: float) -> float:
        """The nearest-rank percentile: the smallest value that at least so many percent do not exceed."""
        return self.seconds[max(0, math.ceil(len(self.seconds) * percent / 100) - 1)]


def samples(entries: Sequence[Entry], stream: Sequence[Event]) -> list[Sample]:
    """Those of which there is anything."""
    calls = ((name, (e.answered - e.sent for e in entries if e.outcome == kind)) for kind, name in CALLS.items())
    lags = [
        # The first by two clocks, the database's and ours: on one machine they are one.
        ("change to consumer", (event.read_at - event.time for event in stream if event.kind in CHANGES)),
        ("lapse to `expired`", (event.time - event.expires_at for event in stream if event.kind == "expired")),
    ]
    found = [_sample(name, seconds) for name, seconds in chain(calls, lags)]
    return [sample for sample in found if sample.seconds]


def _sample(name: str, seconds: Iterable[float]) -> Sample:
    return Sample(name, sorted(seconds))
