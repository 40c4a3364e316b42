"""The slot of one of several API processes: its current process, and the socket over which that gets connections."""

import socket
from collections.abc import Callable

from api.serving.connection_passing import Outlet
from domain import log
from domain.processes.children import Child, Launched, launch

# Counted in checks of the supervisor, ten a second, not in seconds: after a suspend of the whole machine no process
# counts as hanging.
LATE_CHECKS = 15  # three beats are missing: other processes get the new connections
HANGING_CHECKS = 150  # longer than a shutdown may take, during which there are no beats either
STARTING_CHECKS = 600

log_ = log.get(__name__)


class ChildSlot:
    """`lifeline` ends the process with its parent; the process writes its metrics to the folder `counters`."""

    def __init__(self, *, lifeline: int, counters: str) -> None:
        self._lifeline = lifeline
        self._counters = counters
        self._child = Child(program="api", launch=self._launch)
        self._outlet: Outlet | None = None
        self._silent_checks = 0

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
    def load(self) -> tuple[bool, int, int]:
        """The slot with the least load gets the next connection; equal ones take turns."""
        assert self._outlet is not None
        return self._silent_checks > LATE_CHECKS, self._outlet.load, self._outlet.given

    def give(self, connection: socket.socket) -> bool:
        return self._outlet is not None and self._outlet.give(connection)

    def tend(self, *, died: Callable[[int], None]) -> bool:
        """Check once: start the process if it does not run, kill it if it hangs. Returns whether it was started."""
        if self._outlet is not None:
            self._check(self._outlet)
        return self._child.tend(died=died)

    def _check(self, outlet: Outlet) -> None:
        was_ready = self.ready
        self._silent_checks = 0 if outlet.listen() else self._silent_checks + 1
        if self.ready and not was_ready:
            log_.info("api_process_ready", pid=self.pid)
        if self._silent_checks > (HANGING_CHECKS if outlet.beats else STARTING_CHECKS) and self.pid is not None:
            log_.error("process_hangs", program="api", pid=self.pid)
            self._child.kill()

    def ask_to_stop(self) -> None:
        self._child.ask_to_stop()

    def stop(self, *, seconds: float) -> None:
        """Wait for the process to end; kill it when it does not."""
        self._child.stop(seconds=seconds)

    def _launch(self) -> Launched:
        """Each process gets a new pair of sockets, so that nothing sent to a dead one reaches its successor."""
        if self._outlet is not None:
            self._outlet.end.close()
        ours, theirs = socket.socketpair()
        self._outlet, self._silent_checks = Outlet(ours), 0
        with theirs:
            return launch("api.serving.child", self._lifeline, theirs.fileno(), counters=self._counters)
