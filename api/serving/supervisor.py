"""The parent of several API processes: it listens, passes connections on, restarts dead processes, and ends with them.

uvicorn's own (`uvicorn.supervisors.Multiprocess`) is not used: see docs/decisions/0009-many-api-processes.md.
"""

import os
import selectors
import socket
import time

from prometheus_client.multiprocess import mark_process_dead

from api.serving import listeners
from api.serving.child_slots import ChildSlot
from domain import log
from domain.configuration.settings import Settings
from domain.processes import metrics_folder, parent_watch
from domain.processes.children import Children
from domain.processes.stop_signals import StopSignals

CHECK_SECONDS = 0.1  # between two checks of the children
PAUSE_SECONDS = 0.01
STOP_SECONDS = 13.5  # the most a process takes when Postgres hangs; process managers often wait 15 s
BATCH = 64
FOLDER_PREFIX = "botfarm-api-"

log_ = log.get(__name__)


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises OSError when it cannot listen on the address."""
    sockets = listeners.bind(settings.host, settings.port)
    with metrics_folder.folder(prefix=FOLDER_PREFIX) as folder:
        return Supervisor(sockets, processes=settings.api_workers, counters=folder).run()


class Supervisor:
    """Keeps the processes running. `counters` is the folder to which they write their metrics."""

    def __init__(self, sockets: list[socket.socket], *, processes: int, counters: str) -> None:
        self._sockets = sockets
        # Held for life: when this process ends, however it ends, the pipe closes and the children end.
        reading, self._lifeline = parent_watch.make()
        slots = [ChildSlot(lifeline=reading, counters=counters) for _ in range(processes)]
        self._children = Children(slots, counters=counters, bury=mark_process_dead)
        self._selector = selectors.DefaultSelector()
        self._accepted: socket.socket | None = None  # and not passed on yet
        self._was_ready = False

    def run(self) -> int:
        signals = StopSignals()
        for listening in self._sockets:
            self._selector.register(listening, selectors.EVENT_READ)
        log_.info("api_listening", url=listeners.url(self._sockets), processes=len(self._children.all), pid=os.getpid())
        checked_at = 0.0
        while not signals.stopping:
            if time.monotonic() - checked_at > CHECK_SECONDS:
                if not self._tend():
                    return self._stop(1)
                checked_at = time.monotonic()
            self._serve()
        return self._stop(0)

    def _tend(self) -> bool:
        """Start what does not run. False when a process died before any was ever ready: the next one would die too."""
        slots = self._children.all
        self._was_ready = self._was_ready or any(slot.ready for slot in slots)
        if not self._was_ready and any(slot.died_early for slot in slots):
            return False
        self._children.tend()
        return True

    def _serve(self) -> None:
        """Pass on connections until the next check. While no process can take one, the rest wait in the kernel."""
        if not self._pass_on():
            time.sleep(PAUSE_SECONDS)
            return
        for key, _ in self._selector.select(CHECK_SECONDS):
            for _ in range(BATCH):
                self._accepted = listeners.accept(key.fileobj)  # type: ignore[arg-type]  # a socket
                if self._accepted is None:
                    break
                if not self._pass_on():
                    return

    def _pass_on(self) -> bool:
        """Give the accepted connection to the least loaded process that takes it; False when none does."""
        if self._accepted is None:
            return True
        slots = sorted((slot for slot in self._children.all if slot.ready), key=lambda slot: slot.load)
        if not any(slot.give(self._accepted) for slot in slots):
            return False
        self._accepted.close()
        self._accepted = None
        return True

    def _stop(self, code: int) -> int:
        """Stop listening, then stop the processes; returns `code`."""
        for listening in self._sockets:
            listening.close()
        log_.info("api_stopping")
        self._children.stop(seconds=STOP_SECONDS)
        log_.info("api_stopped")
        return code
