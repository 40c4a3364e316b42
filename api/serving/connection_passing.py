"""How connections get from the listening process to the serving ones: each is passed to the least loaded of them.

When processes share one listening socket, the first to wake takes most of a burst. With a socket per process
(SO_REUSEPORT) the kernel distributes by a hash, keeps connections for dead processes, and lets a second farm take half
of a port. See docs/decisions/0009-many-api-processes.md.

The parent and each child share a pair of Unix sockets. The parent sends a connection as a file descriptor (unix(7),
SCM_RIGHTS) with one byte. Twice a second the child's event loop sends how many it has taken so far and how many it has
open, which is its heartbeat as well.
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
        self.beats = False  # the process has begun to serve
        self.open = True  # the process has not hung up
        self.given = 0
        self._settled = 0  # open connections minus taken ones, at the last beat
        self._unread = b""

    @property
    def load(self) -> int:
        """The connections that the process has open, or will have when it has taken all that were given to it."""
        return self.given + self._settled

    def give(self, connection: socket.socket) -> bool:
        """Pass the connection on; False when the process has ended or the socket is full."""
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
        """Read the beats received since the last call; the last one counts. Returns whether there was any."""
        try:
            received = self.end.recv(4_096)
        except BlockingIOError:
            return False
        except OSError:
            received = b""
        if not received:
            self.open = False
            return False
        self._unread += received
        whole = len(self._unread) // BEAT.size * BEAT.size
        if whole:
            taken, held = BEAT.unpack(self._unread[whole - BEAT.size : whole])
            self._unread = self._unread[whole:]
            self._settled = held - taken
            self.beats = True
        return bool(whole)


class Inlet:
    """The child's end. Each connection that arrives is served by a protocol that `make` returns."""

    def __init__(self, end: socket.socket, *, make: Callable[[], asyncio.Protocol]) -> None:
        end.settimeout(0)
        self._end = end
        self._make = make
        self._taken = 0
        self._starting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._end, self._take)

    def beat(self, *, held: int) -> None:
        """Send a heartbeat with the number of taken and of open connections."""
        try:
            self._end.send(BEAT.pack(self._taken, held + len(self._starting)))
        except OSError:
            return  # full: the parent has beats to read; closed: the parent has ended, and this process ends too

    async def close(self) -> None:
        """Take no more connections. Those already sent are taken first, so that their clients see an orderly close."""
        asyncio.get_running_loop().remove_reader(self._end)
        while self._take():
            pass
        await asyncio.gather(*self._starting)
        self._end.close()

    def _take(self) -> bool:
        """Take a batch of connections; True when there may be more."""
        for _ in range(BATCH):
            try:
                data, descriptors = _received(self._end)
            except BlockingIOError:
                return False
            except OSError:
                data, descriptors = b"", []
            if not data:  # the parent has ended
                asyncio.get_running_loop().remove_reader(self._end)
                return False
            self._taken += len(data)
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
            connection.close()  # the client has hung up already


def _received(end: socket.socket) -> tuple[bytes, list[int]]:
    """One byte with its descriptor, which is missing when this process has reached its limit of open files."""
    data, ancillary, flags, _ = end.recvmsg(1, socket.CMSG_LEN(DESCRIPTOR_BYTES), CLOSE_ON_EXEC)
    if flags & socket.MSG_CTRUNC:
        log_.error("connection_lost", reason="too many open files")
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) // DESCRIPTOR_BYTES * DESCRIPTOR_BYTES])
    return data, list(descriptors)
