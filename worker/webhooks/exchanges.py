"""One connection with HTTP/1.1 on it: a request, its answer, and whether another request may follow.

h11 parses; it reports what was received behind an answer, which decides whether the connection can be used again.
"""

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import h11

from worker.webhooks.guarded_sockets import Deadline

KEEP_ALIVE_SECONDS = 3.0  # shorter than servers usually keep theirs: a request must not run into a closing connection
# Read this much of an answer so that its connection can be used again; a longer one costs its connection.
READ_MOST = 16_384
HEAD_MOST = 65_536  # of all that precedes the body, informational answers included
READ_AT_ONCE = 65_536
PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class Reply:
    """What came back: a status, an error or both, as when the body never ended. `body` is its beginning."""

    seconds: float = 0.0
    status: int | None = None
    error: str | None = None
    headers: Mapping[str, str] | None = None
    body: bytes = b""

    @property
    def acknowledges(self) -> bool:
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. Credentials in it are left out: they would be sent in the Host header."""

    scheme: str
    host: str
    port: int
    netloc: str
    path: str

    @classmethod
    def of(cls, url: str) -> Self:
        """Raises ValueError for what is no URL of http or https in ASCII."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or not url.isascii():
            raise ValueError("the URL must be http or https, with a host, in ASCII")
        port = PORTS[parts.scheme] if parts.port is None else parts.port
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, parts.hostname, port, parts.netloc.rpartition("@")[2], path)

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


class Connection:
    """To one origin. After each answer `reusable` says whether it may be kept, and `ready` whether it still may."""

    def __init__(self, connected: socket.socket, *, origin: tuple[str, str, int]) -> None:
        self._socket = connected
        self._origin = origin
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MOST)
        self._unsent = False
        self._head = 0
        self._used_at = time.monotonic()

    def post(
        self, target: Target, *, headers: Mapping[str, str], content: bytes, reply: Reply, deadline: Deadline
    ) -> None:
        """Send the request and fill the reply as it comes. Raises OSError and h11's ProtocolError."""
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        self._head = 0
        self._send(target, headers, content, deadline)
        self._receive(reply, deadline)
        self._used_at = time.monotonic()
        if self._unsent and reply.acknowledges:
            raise h11.RemoteProtocolError("it acknowledges a request that it did not take")

    @property
    def reusable(self) -> bool:
        """Whether the exchange is over with not a byte left: what is left would be the answer to the next request."""
        over = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        return over and not self._unsent and self._h11.trailing_data == (b"", False)

    def ready(self, target: Target) -> bool:
        """Whether a request to this target may follow: nothing came while it was idle, the end included."""
        recent = time.monotonic() - self._used_at < KEEP_ALIVE_SECONDS
        return recent and self._origin == target.origin and self._silent()

    def close(self) -> None:
        self._socket.close()

    def _silent(self) -> bool:
        """Read without waiting rather than poll the socket: only TLS knows whether what came is data."""
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def _send(self, target: Target, headers: Mapping[str, str], content: bytes, deadline: Deadline) -> None:
        """A receiver may answer, and refuse to read on: then the answer is what counts."""
        fields = {"Host": target.netloc, **headers, "Content-Length": str(len(content))}
        request = h11.Request(method="POST", target=target.path, headers=list(fields.items()))
        events = (request, h11.Data(data=content), h11.EndOfMessage())
        left = memoryview(b"".join(self._h11.send(event) or b"" for event in events))
        try:
            while left:
                self._socket.settimeout(deadline.left())
                left = left[self._socket.send(left) :]
        except TimeoutError:
            raise
        except OSError:
            self._unsent = True

    def _receive(self, reply: Reply, deadline: Deadline) -> None:
        while not isinstance(event := self._next_event(reply, deadline), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                reply.status = event.status_code
                reply.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                reply.body += event.data[: READ_MOST - len(reply.body)]
                if len(reply.body) >= READ_MOST:
                    return

    def _next_event(self, reply: Reply, deadline: Deadline) -> object:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if reply.status is None and self._head >= HEAD_MOST:
                raise h11.RemoteProtocolError("its head is too long")
            self._socket.settimeout(deadline.left())
            data = self._socket.recv(READ_AT_ONCE)
            if not data and reply.status is None:
                raise h11.RemoteProtocolError("the connection was closed without an answer")
            self._head += len(data)
            self._h11.receive_data(data)
        return event
