"""How connections get from the process that listens to those that serve: each is handed over, to the least busy one.

Processes that listen on one socket leave most of a burst to whichever wakes first, and sockets of their own
(SO_REUSEPORT) deal by a hash, hold connections that a dead process will never take, and let a second farm take half of
a port. See docs/decisions/0009-many-api-processes.md.

Between the parent and each child is a pair of Unix sockets. A connection goes down as a file descriptor (unix(7),
SCM_RIGHTS) beside one byte. Twice a second the child's event loop sends up how many it has taken so far and how many it
has open: a heartbeat as well.
"""

import array
import asyncio
import socket
import struct
from collections.abc import Callable

from domain import log

BEAT = struct.Struct("!QQ")
BATCH = 64
DESCRIPTOR_BYTES = array.array("i").itemsize
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

log_ = log.get(__name__)


class Outlet:
    """The parent's end of a pair."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(0)
        self.end = end
        self.beats = False  # its process has begun to serve
        self.open = True  # and has not ended since
        self.given = 0
        self._settled = 0  # open connections less those taken, by the last beat
        self._heard = b""

    @property
    def load(self) -> int:
        """The connections that its process has open, or will have once it has taken what it was given."""
        return self.given + self._settled

    def give(self, connection: socket.socket) -> bool:
        """Hand it over; False when the process is gone or has too many to take already."""
        try:
            socket.send_fds(self.end, [b"."], [connection.fileno()])
        except BlockingIOError:
            return False
        except OSError:
            self.open = False
            return False
        self.given += 1
        return True

    def listen(self) -> bool:
        """Read the beats that have come, if any; the last one counts. A process that hangs up takes no more."""
        try:
            heard = self.end.recv(4_096)
        except BlockingIOError:
            return False
        except OSError:
            heard = b""
        if not heard:
            self.open = False
            return False
        self._heard += heard
        whole = len(self._heard) // BEAT.size * BEAT.size
        if whole:
            taken, held = BEAT.unpack(self._heard[whole - BEAT.size : whole])
            self._heard = self._heard[whole:]
            self._settled = held - taken
            self.beats = True
        return bool(whole)


class Inlet:
    """The child's end. Every connection that comes is served by a protocol that `make` makes."""

    def __init__(self, end: socket.socket, *, make: Callable[[], asyncio.Protocol]) -> None:
        end.settimeout(0)
        self._end = end
        self._make = make
        self._taken = 0
        self._starting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._end, self._take)

    def beat(self, *, held: int) -> None:
        """Say that the event loop runs, with `held` connections open."""
        try:
            self._end.send(BEAT.pack(self._taken, held + len(self._starting)))
        except OSError:
            return  # full: the parent is not reading now, and has enough to read; gone: so will this process be

    async def close(self) -> None:
        """Take no more. What was on its way is taken first, to be hung up on like every other."""
        asyncio.get_running_loop().remove_reader(self._end)
        while self._take():
            pass
        await asyncio.gather(*self._starting)
        self._end.close()

    def _take(self) -> bool:
        """Whether there may be more."""
        for _ in range(BATCH):
            try:
                said, descriptors = _received(self._end)
            except BlockingIOError:
                return False
            except OSError:
                said, descriptors = b"", []
            if not said:  # the parent is gone
                asyncio.get_running_loop().remove_reader(self._end)
                return False
            self._taken += len(said)
            for descriptor in descriptors:
                self._serve(socket.socket(fileno=descriptor))
        return True

    def _serve(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._begin(connection))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(0)
            await asyncio.get_running_loop().connect_accepted_socket(self._make, connection)
        except OSError:
            connection.close()  # the client has gone already


def _received(end: socket.socket) -> tuple[bytes, list[int]]:
    """One byte with its descriptor, which is missing when this process may open no more files."""
    said, ancillary, flags, _ = end.recvmsg(1, socket.CMSG_LEN(DESCRIPTOR_BYTES), CLOSE_ON_EXEC)
    if flags & socket.MSG_CTRUNC:
        log_.error("connection_lost", reason="too many open files")
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) // DESCRIPTOR_BYTES * DESCRIPTOR_BYTES])
    return said, list(descriptors)
