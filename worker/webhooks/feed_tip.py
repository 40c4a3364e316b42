"""Where the feed ends, as the deliverer last saw it."""

import threading


class Tip:
    """The end of the feed as this process knows it, for runs to wait at, and whether others want their threads."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._seq = 0
        self._stopping = False
        self.crowded = False

    def tell(self, *, seq: int, crowded: bool) -> None:
        with self._moved:
            self._seq, self.crowded = seq, crowded
            self._moved.notify_all()

    def stop(self) -> None:
        """Runs end after the delivery that they are at."""
        with self._moved:
            self._stopping = True
            self._moved.notify_all()

    @property
    def stopping(self) -> bool:
        return self._stopping

    def beyond(self, seq: int, *, seconds: float) -> bool:
        """Wait for an event after `seq`; False when there is none in time, or the thread is wanted elsewhere."""
        with self._moved:
            leave = self._moved.wait_for(lambda: self._seq > seq or self.crowded or self._stopping, seconds)
            return leave and self._seq > seq and not self.crowded and not self._stopping
