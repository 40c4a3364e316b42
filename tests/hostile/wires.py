"""Sends bytes exactly as given, piece by piece, and collects all answers until the server has closed."""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from tests.hostile.callers import Answer

End = Literal["listen", "half-close", "close", "reset"]
PAUSE_SECONDS = 0.01  # so that pieces arrive apart
PATIENCE_SECONDS = 30
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no time, hence RST instead of FIN


@dataclass(frozen=True)
class Shape:
    """What goes over the wire. `listen` keeps the connection open, so the server must be the one to close it."""

    pieces: tuple[bytes, ...]
    end: End = "listen"


def exchange(url: str, shape: Shape) -> list[Answer]:
    """All final answers, in order; none after `close` and `reset`. Raises TimeoutError when the server stays silent."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), address.port), timeout=PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError, BrokenPipeError):  # it may refuse in the middle
            for number, piece in enumerate(shape.pieces):
                time.sleep(PAUSE_SECONDS if number else 0)
                connection.sendall(piece)
        if shape.end == "reset":
            assert connection.recv(1), "it must expect a 100, which shows that the call has begun"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if shape.end in {"close", "reset"}:
            return []
        if shape.end == "half-close":
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        return list(answers(received(connection)))


def received(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def answers(stream: bytes) -> Iterator[Answer]:
    """The final answers of a connection on which no HEAD was sent. Raises AssertionError for bytes that are none."""
    while stream:
        head, end, stream = stream.partition(b"\r\n\r\n")
        assert end, head
        assert head.startswith(b"HTTP/1.1 "), head
        status = int(head.split()[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        assert b"transfer-encoding" not in fields, "answers here state their length"
        length = int(fields.get(b"content-length", b"0"))
        assert len(stream) >= length, stream
        if status >= 200:
            yield Answer(status, head, stream[:length])
        stream = stream[length:]
