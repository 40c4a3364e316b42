"""The parent of several API processes: it listens, hands connections on, starts dead processes again, ends with them.

uvicorn's own (`uvicorn.supervisors.Multiprocess`) is not used: see docs/decisions/0009-many-api-processes.md.
"""

import os
import selectors
import signal
import socket
import time
from pathlib import Path
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from api.serving import listeners, metrics_folder
from api.serving.child_slots import Seat
from domain import log
from domain.configuration.settings import Settings
from domain.processes import parent_watch

LOOK_SECONDS = 0.1
PAUSE_SECONDS = 0.01
STOP_SECONDS = 13.5  # what a process takes at most when Postgres hangs; supervisors that are in a hurry wait 15 s
BATCH = 64

log_ = log.get(__name__)


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Raises OSError when the address cannot be had."""
    sockets = listeners.bind(settings.host, settings.port)
    with metrics_folder.folder() as folder:
        return Supervisor(sockets, processes=settings.api_workers, counters=folder).run()


class Supervisor:
    """Watches over the processes. `counters` is a folder in which they leave what they have counted."""

    def __init__(self, sockets: list[socket.socket], *, processes: int, counters: str) -> None:
        self._sockets = sockets
        self._counters = counters
        # Held for life: when it closes, however this process ends, the children end.
        reading, self._lifeline = parent_watch.make()
        self._seats = [Seat(lifeline=reading, counters=counters) for _ in range(processes)]
        self._selector = selectors.DefaultSelector()
        self._accepted: socket.socket | None = None  # and not handed on yet
        self._stopping = False
        self._was_ready = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)
        for listening in self._sockets:
            self._selector.register(listening, selectors.EVENT_READ)
        log_.info("api_listening", url=listeners.url(self._sockets), processes=len(self._seats), pid=os.getpid())
        looked_at = 0.0
        while not self._stopping:
            if time.monotonic() - looked_at > LOOK_SECONDS:
                if not self._tend():
                    return self._stop(1)
                looked_at = time.monotonic()
            self._serve()
        return self._stop(0)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        """Only a flag is set: in a handler anything that locks could deadlock."""
        self._stopping = True

    def _tend(self) -> bool:
        """Look after every process. False when one has died before any was ever ready: the next would die as well."""
        self._was_ready = self._was_ready or any(seat.ready for seat in self._seats)
        for seat in self._seats:
            if not self._was_ready and seat.died_early:
                return False
            seat.tend(died=self._bury)
        return True

    def _bury(self, pid: int) -> None:
        Path(self._counters).mkdir(mode=0o700, exist_ok=True)  # cleaners of /tmp take what is old, and none could start
        mark_process_dead(pid, self._counters)  # type: ignore[no-untyped-call]

    def _serve(self) -> None:
        """Hand on what comes until the next look. While nobody can take one, the others wait in the system's queue."""
        if not self._hand_on():
            time.sleep(PAUSE_SECONDS)
            return
        for key, _ in self._selector.select(LOOK_SECONDS):
            for _ in range(BATCH):
                self._accepted = listeners.accept(key.fileobj)  # type: ignore[arg-type]  # a socket
                if self._accepted is None:
                    break
                if not self._hand_on():
                    return

    def _hand_on(self) -> bool:
        """Give the accepted connection to the process that has the least to do, or else to the next; False if none."""
        if self._accepted is None:
            return True
        seats = sorted((seat for seat in self._seats if seat.ready), key=lambda seat: seat.burden)
        if not any(seat.give(self._accepted) for seat in seats):
            return False
        self._accepted.close()
        self._accepted = None
        return True

    def _stop(self, code: int) -> int:
        """Nothing new from here on; all processes learn of it before any is waited for."""
        for listening in self._sockets:
            listening.close()
        log_.info("api_stopping")
        deadline = time.monotonic() + STOP_SECONDS
        for seat in self._seats:
            seat.ask_to_stop()
        for seat in self._seats:
            seat.stop(seconds=max(0.0, deadline - time.monotonic()))
        log_.info("api_stopped")
        return code
