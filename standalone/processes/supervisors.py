"""Who starts a part again when it dies, and when that is given up."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from standalone.errors import StandaloneError
from standalone.output import complain, say
from standalone.processes.parts import Part

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Patience:
    """A part is started again after each death, up to `restarts` times within the window, with doubling pauses."""

    restarts: int = 5
    window_seconds: float = 60.0
    pause_seconds: float = 0.1


@dataclass
class Watched:
    part: Part
    deaths: deque[float] = field(default_factory=deque)
    due: float | None = None


class Supervisor:
    """Keeps the parts alive, in their order. `changed` is called after each restart."""

    def __init__(self, parts: Sequence[Part], *, changed: Callable[[], None], patience: Patience | None = None) -> None:
        self._watched = [Watched(part) for part in parts]
        self._changed = changed
        self._patience = patience or Patience()

    def watch(self) -> None:
        """Return never; raises StandaloneError when a part has died for good."""
        while True:
            self.tend()
            time.sleep(POLL_SECONDS)

    def tend(self) -> None:
        """Look after each part once."""
        for watched in self._watched:
            self._tend(watched)

    def _tend(self, watched: Watched) -> None:
        if watched.part.alive:
            return
        if watched.due is None:
            self._mourn(watched)
        elif time.monotonic() >= watched.due:
            self._revive(watched)

    def _mourn(self, watched: Watched) -> None:
        """Note the death, and decide when to try again."""
        part, deaths, now = watched.part, watched.deaths, time.monotonic()
        part.kill()  # what it left of its own
        deaths.append(now)
        while deaths[0] < now - self._patience.window_seconds:
            deaths.popleft()
        if len(deaths) > self._patience.restarts:
            times = f"{len(deaths)} times within {self._patience.window_seconds:.0f} s"
            raise part.failure(f"died for good: {times} ({part.ending})")
        pause = self._patience.pause_seconds * 2 ** (len(deaths) - 1)
        watched.due = now + pause
        say(f"{part.name} died ({part.ending}): starting it again in {pause:.1f} s")

    def _revive(self, watched: Watched) -> None:
        """Start it without waiting, so that the others stay watched; a failure counts as another death."""
        watched.due = None
        try:
            watched.part.launch()
        except StandaloneError as error:
            complain(error)
        self._changed()
