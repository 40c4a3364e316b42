"""How a process learns that it is to stop."""

import signal
from types import FrameType


class StopSignals:
    """`stopping` becomes true at SIGTERM or SIGINT. Must be made in the main thread.

    The handler sets only a flag: whatever takes a lock could deadlock with the code that it interrupts.
    """

    def __init__(self) -> None:
        self.stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True
