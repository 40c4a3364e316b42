"""Requests to addresses that strangers have chosen: guarded where they connect, and bounded in time and size.

The guard is in the one place where a connection is made. It resolves the name itself, judges every address, and
connects to the very address it has judged; nothing resolves the name a second time, so a name that changes its answer
between check and connect (DNS rebinding) gains nothing. TLS still verifies the name. Nothing is followed, stored or
taken from the environment: no redirects, no cookies, no proxies, for httpcore knows none of them.
"""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore
from httpcore import ConnectError, ConnectTimeout, ReadTimeout, TimeoutException, WriteError, WriteTimeout

from domain.webhooks.addresses import Network, permitted

TIMEOUT_SECONDS = 15.0
KEEP_ALIVE_SECONDS = 3.0  # shorter than servers usually keep theirs: a request must not run into a closing connection
KEPT_MOST = 64
# Read so much of an answer that its connection can be used again; a longer one costs its connection.
READ_MOST = 16_384

Resolve = Callable[[str, int], Sequence[str]]


class ForbiddenAddress(Exception):  # noqa: N818  -- named for what is wrong
    """The name stands for an address that must not be connected to."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a status, an error or both, as when the body never ended. `body` is its beginning."""

    seconds: float
    status: int | None = None
    error: str | None = None
    headers: Mapping[str, str] | None = None
    body: bytes = b""


def by_system(host: str, port: int) -> Sequence[str]:
    """The addresses of the name, as this machine knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Deadline(threading.local):
    """When the request of this thread must be over, whatever its single steps take. In monotonic seconds."""

    def __init__(self) -> None:
        self.at = 0.0

    def left(self, kind: type[TimeoutException]) -> float:
        """The seconds that are left; raises the timeout of that kind when there are none."""
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise kind
        return seconds


class Outbound:
    """Sends POST requests; connections are kept, and shared by all threads."""

    def __init__(
        self,
        *,
        allowed: Sequence[Network] = (),
        resolve: Resolve = by_system,
        timeout_seconds: float = TIMEOUT_SECONDS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._deadline = Deadline()
        self._timeout_seconds = timeout_seconds
        self._pool = httpcore.ConnectionPool(
            network_backend=GuardedBackend(allowed=allowed, resolve=resolve, deadline=self._deadline),
            max_connections=None,
            max_keepalive_connections=KEPT_MOST,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            ssl_context=ssl_context,
        )

    def post(self, url: str, *, headers: Mapping[str, str], content: bytes) -> Reply:
        """Whatever happens out there is a reply; nothing is raised."""
        began = time.monotonic()
        self._deadline.at = began + self._timeout_seconds
        reply = self._post(url, headers, content)
        return Reply(time.monotonic() - began, **reply)

    def close(self) -> None:
        self._pool.close()

    def _post(self, url: str, headers: Mapping[str, str], content: bytes) -> dict[str, Any]:
        reply: dict[str, Any] = {}
        sent = {"Host": urlsplit(url).netloc, **headers, "Content-Length": str(len(content))}
        try:
            with self._pool.stream("POST", url, headers=list(sent.items()), content=content) as response:
                reply["status"] = response.status
                reply["headers"] = _text(response.headers)
                reply["body"] = b""
                for chunk in response.iter_stream():
                    reply["body"] += chunk[: READ_MOST - len(reply["body"])]
                    if len(reply["body"]) >= READ_MOST:
                        break
        except ForbiddenAddress:
            reply["error"] = "forbidden-address"
        except TimeoutException:
            reply["error"] = "timeout"
        except (httpcore.NetworkError, OSError) as error:
            reply["error"] = _told("unreachable", error)
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, ValueError) as error:
            reply["error"] = _told("bad-answer", error)
        return reply


class GuardedBackend(httpcore.NetworkBackend):
    """Makes the connections. If any address of a name is forbidden, all are: such a name has no honest use."""

    def __init__(self, *, allowed: Sequence[Network], resolve: Resolve, deadline: Deadline) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  -- the deadline is what counts
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port)
        if not all(permitted(address, allowed=self._allowed) for address in addresses):
            raise ForbiddenAddress(host)
        failure: Exception = ConnectError("the name has no address")
        for number, address in enumerate(addresses):
            seconds = self._deadline.left(ConnectTimeout) / (len(addresses) - number)
            try:
                stream = self._plain.connect_tcp(address, port, seconds, local_address, socket_options)
            except (ConnectError, ConnectTimeout) as error:
                failure = error
            else:
                return TimedStream(stream, deadline=self._deadline)
        raise failure

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        raise ForbiddenAddress(path)

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Resolved on a thread of its own, since nothing can interrupt the system's resolver."""
        answers: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(list(dict.fromkeys(self._resolve(host, port))))
            except (OSError, UnicodeError) as error:
                answers.put(OSError(str(error)))

        threading.Thread(target=ask, name="resolver", daemon=True).start()
        try:
            answer = answers.get(timeout=self._deadline.left(ConnectTimeout))
        except queue.Empty:
            raise ConnectTimeout from None
        if isinstance(answer, OSError):
            raise ConnectError(str(answer))
        return answer


class TimedStream(httpcore.NetworkStream):
    """A connection whose every step has only what is left of the whole request's time.

    A receiver that sends a byte now and then would otherwise be waited for without end.
    """

    def __init__(self, stream: httpcore.NetworkStream, *, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._deadline.left(ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        connection: socket.socket = self._stream.get_extra_info("socket")
        while buffer:
            connection.settimeout(self._deadline.left(WriteTimeout))
            try:
                buffer = buffer[connection.send(buffer) :]
            except TimeoutError:
                raise WriteTimeout from None
            except OSError as error:
                raise WriteError(str(error)) from error

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left(ConnectTimeout))
        return TimedStream(stream, deadline=self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  -- as httpcore has it
        return self._stream.get_extra_info(info)


def _text(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _told(kind: str, error: Exception) -> str:
    return f"{kind}: {str(error)[:200]}" if str(error) else kind
