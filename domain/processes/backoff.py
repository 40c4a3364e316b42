"""A growing pause between failures."""


class Backoff:
    """Each failure doubles the pause, from `first` to `longest` seconds; a success resets it."""

    def __init__(self, *, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def failed(self) -> float:
        """The seconds to pause after this failure."""
        pause = self._next
        self._next = min(self._longest, 2 * pause)
        return pause

    def reset(self) -> None:
        self._next = self._first
