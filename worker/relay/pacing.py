"""How fast a backlog of events is put on the stream: beside locking, not instead of it.

After an outage of Redis the relay has full batches to append for a while. Without a pause between them it would take
all the processor time there is, and on a full machine it is those who lock that would wait: locking fell to two thirds
(`python -m benchmarks.hardships.redis_outage`). So the relay rests after a full batch, several times as long as the
batch took, which leaves most of the time to others, and grows by itself where they keep it waiting.

But a relay that changes outrun would never be done. However long it would rest, it goes half as fast again as changes
come, so that a backlog is gone, at the latest, after twice as long as it took to come about. And while nothing is
changed there is nobody to give way to: it does not rest at all. Nor does it for a burst, which is soon done.
"""

import time
from collections import deque
from collections.abc import Callable

BURST = 5_000  # events waiting: more are a backlog
SHARE = 0.15  # of its time, at work on a backlog
LEAD = 1.5  # times as fast as changes come, at least
LONGEST_SECONDS = 1.0  # whatever kept the batch: a server that hung is no reason to rest for minutes
WINDOW_SECONDS = 1.0

Clock = Callable[[], float]


class Pace:
    """The rests of one relay; all times are in seconds."""

    def __init__(self, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._rested_at = float("-inf")
        self._seen: deque[tuple[float, int]] = deque()

    @property
    def rest(self) -> float:
        """How long there is still to rest, whatever has happened meanwhile."""
        return max(0.0, self._rested_at - self._clock())

    def note(self, *, numbered: int) -> None:
        """The last number that was given to a change, as it is known now."""
        now = self._clock()
        self._seen.append((now, numbered))
        while len(self._seen) > 1 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()

    def filled(self, *, events: int, took: float, waiting: int) -> None:
        """A batch of so many was full and took so long, and so many wait: rest if that is a backlog."""
        if waiting > BURST:
            self._rested_at = self._clock() + rest_after(events=events, took=took, rate=self._rate())

    def _rate(self) -> float:
        """Changes a second, lately."""
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        return max(0, last - first) / max(WINDOW_SECONDS, ended - began)


def rest_after(*, events: int, took: float, rate: float) -> float:
    """Seconds to rest after a batch of so many events that took so long, while `rate` changes a second come."""
    if rate == 0:
        return 0.0
    by_share = took * (1 / SHARE - 1)
    by_lead = events / (LEAD * rate) - took
    return max(0.0, min(by_share, by_lead, LONGEST_SECONDS))
