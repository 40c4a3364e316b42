"""Receivers of webhooks on 127.0.0.1: they note what comes, and behave as badly as a test wants."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests import patience


@dataclass(frozen=True)
class Received:
    """A request as it came, from `client`. `at` is when it was whole, `in_flight` how many were in hand with it."""

    headers: dict[str, str]
    body: bytes
    at: float
    in_flight: int
    path: str
    client: tuple[str, int]

    @property
    def event(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.body)
        return answer

    @property
    def seq(self) -> int:
        return int(self.event["sequence"])


Behaviour = Callable[["Handler"], None]


@dataclass
class Receiver:
    """`behave` answers a request; it may be exchanged at any time."""

    behave: Behaviour
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def seqs(self) -> list[int]:
        return [received.seq for received in self.received]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    receiver: Receiver

    def setup(self) -> None:
        super().setup()
        with self.receiver.lock:
            self.receiver.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.receiver.lock:
            self.receiver.in_flight += 1
            headers = {name.lower(): value for name, value in self.headers.items()}
            at, in_flight = time.monotonic(), self.receiver.in_flight
            self.receiver.received.append(Received(headers, body, at, in_flight, self.path, self.client_address))
        try:
            self.receiver.behave(self)
        except OSError:
            self.close_connection = True
        finally:
            with self.receiver.lock:
                self.receiver.in_flight -= 1

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def answering(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    return lambda handler: handler.answer(status, body, **headers)


def hanging(handler: Handler) -> None:
    """Never answers."""
    handler.receiver.closing.wait(patience.limit(60))


def dribbling(handler: Handler) -> None:
    """Answers 200, and then a byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while not handler.receiver.closing.wait(0.05):
        handler.wfile.write(b"x")


def dribbling_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.receiver.closing.wait(0.05):
        handler.wfile.write(b"x")


def endless(handler: Handler) -> None:
    """Answers 200 with a body that has no end, as fast as it is taken."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while not handler.receiver.closing.is_set():
        handler.wfile.write(b"4000\r\n" + b"y" * 0x4000 + b"\r\n")


def hanging_up(handler: Handler) -> None:
    """Closes the connection instead of answering."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def garbage(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01 this is not HTTP \r\n\r\n")
    handler.close_connection = True


def sending(answer: bytes, *, then: Behaviour | None = None) -> Behaviour:
    """Answers with these very bytes, and closes the connection unless it is to do something else then."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(answer)
        handler.close_connection = True
        if then is not None:
            then(handler)

    return behave


def deaf(handler: Handler) -> None:
    """Keeps the connection open, and reads nothing more from it."""
    handler.receiver.closing.wait(patience.limit(60))


def kept(handler: Handler) -> None:
    """Reads the next request of the connection, as is proper."""
    handler.close_connection = False


def routed(**behaviours: Behaviour) -> Behaviour:
    """Behaves by the last part of the path, so that several webhooks have one origin."""
    return lambda handler: behaviours[handler.path.rpartition("/")[2]](handler)


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are what is tested."""


@contextlib.contextmanager
def receiving(behave: Behaviour | None = None, *, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that listens, over TLS with a context; it answers 204 unless told otherwise."""
    receiver = Receiver(behave or answering(204))
    handler = type("Handler", (Handler,), {"receiver": receiver})
    server = Server(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.daemon_threads = True
    server.block_on_close = False
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        server.shutdown()
        server.server_close()
