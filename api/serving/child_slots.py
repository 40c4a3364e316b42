"""A place for one of several API processes: the process, whichever it is now, and the way to it."""

import socket
from collections.abc import Callable

from api.serving.connection_passing import Outlet
from domain import log
from domain.processes.children import Child, Launched, launch

# In looks of the supervisor, ten a second, not by the clock: when the whole machine was stopped, no process hangs.
LATE_LOOKS = 15  # three beats are missing: others get the new connections
HANGING_LOOKS = 150  # longer than an ending may take, which is silent as well
STARTING_LOOKS = 600

log_ = log.get(__name__)


class Seat:
    """`lifeline` ends the process with its parent; in the folder `counters` it leaves what it has counted."""

    def __init__(self, *, lifeline: int, counters: str) -> None:
        self._lifeline = lifeline
        self._counters = counters
        self._child = Child(program="api", launch=self._launch)
        self._outlet: Outlet | None = None
        self._silent_looks = 0

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        return self._child.pid

    @property
    def ready(self) -> bool:
        """Whether its process takes connections."""
        return self._outlet is not None and self._outlet.beats and self._outlet.open

    @property
    def died_early(self) -> bool:
        return self._outlet is not None and not self._outlet.beats and self._child.pid is None

    @property
    def burden(self) -> tuple[bool, int, int]:
        """The seat with the least is to have the next connection. Equals take turns."""
        assert self._outlet is not None
        return self._silent_looks > LATE_LOOKS, self._outlet.load, self._outlet.given

    def give(self, connection: socket.socket) -> bool:
        return self._outlet is not None and self._outlet.give(connection)

    def tend(self, *, died: Callable[[int], None]) -> bool:
        """Look once: start a process where there is none, end one that hangs. Whether one was started."""
        if self._outlet is not None:
            self._listen(self._outlet)
        return self._child.tend(died=died)

    def _listen(self, outlet: Outlet) -> None:
        was_ready = self.ready
        self._silent_looks = 0 if outlet.listen() else self._silent_looks + 1
        if self.ready and not was_ready:
            log_.info("api_process_ready", pid=self.pid)
        if self._silent_looks > (HANGING_LOOKS if outlet.beats else STARTING_LOOKS) and self.pid is not None:
            log_.error("process_hangs", program="api", pid=self.pid)
            self._child.kill()

    def ask_to_stop(self) -> None:
        self._child.ask_to_stop()

    def stop(self, *, seconds: float) -> None:
        """Wait for the end of its process; killed when it does not come."""
        self._child.stop(seconds=seconds)

    def _launch(self) -> Launched:
        """Each process has a way of its own, so that nothing meant for one that is dead reaches the next."""
        if self._outlet is not None:
            self._outlet.end.close()
        ours, theirs = socket.socketpair()
        self._outlet, self._silent_looks = Outlet(ours), 0
        with theirs:
            return launch("api.serving.child", self._lifeline, theirs.fileno(), counters=self._counters)
