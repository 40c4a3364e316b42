"""Connections to addresses that strangers have chosen, judged where they are made.

The guard is in the one place that connects. It resolves the name itself, judges every address, and connects to the
very address it has judged. Nothing resolves the name a second time, so a name that changes its answer between check
and connect (DNS rebinding) gains nothing. TLS still verifies the name. No answer of the resolver is kept.
"""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from domain.webhooks.addresses import Network, permitted

Resolve = Callable[[str, int], Sequence[str]]


class ForbiddenAddress(Exception):  # noqa: N818  -- named for what is wrong
    """The name stands for an address that must not be connected to."""


def by_system(host: str, port: int) -> Sequence[str]:
    """The addresses of the name, as this machine knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Deadline:
    """When a request must be over, whatever its single steps take."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """The seconds that are left; raises TimeoutError when there are none."""
        seconds = self._at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Connects. If any address of a name is forbidden, all are: such a name has no honest use."""

    allowed: Sequence[Network]
    resolve: Resolve

    def connect(self, host: str, port: int, *, deadline: Deadline) -> socket.socket:
        """Try the addresses in order. Raises ForbiddenAddress, and OSError or ValueError when none can be reached."""
        addresses = self._addresses(host, port, deadline)
        if not all(permitted(address, allowed=self.allowed) for address in addresses):
            raise ForbiddenAddress(host)
        failure: OSError = OSError("the name has no address")
        for number, address in enumerate(addresses):
            seconds = deadline.left() / (len(addresses) - number)
            try:
                connected = socket.create_connection((address, port), seconds)
            except OSError as error:
                failure = error
            else:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connected
        raise failure

    def _addresses(self, host: str, port: int, deadline: Deadline) -> Sequence[str]:
        """Resolved on a thread of its own, since nothing can interrupt the system's resolver."""
        answers: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(list(dict.fromkeys(self.resolve(host, port))))
            except Exception as error:  # noqa: BLE001  -- raised again by the thread that waits for it
                answers.put(error)

        threading.Thread(target=ask, name="resolver", daemon=True).start()
        try:
            answer = answers.get(timeout=deadline.left())
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def encrypted(plain: socket.socket, *, context: ssl.SSLContext, host: str, deadline: Deadline) -> socket.socket:
    """The same connection with TLS, closed when the handshake fails. No session of another connection is resumed."""
    try:
        plain.settimeout(deadline.left())
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise
