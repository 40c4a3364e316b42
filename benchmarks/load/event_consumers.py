"""Watchers: who waits for events, each in a process of its own, so that the load's work is not in the arrival times.

A watcher notes what came and when, by this machine's clock, and reads what it got afterwards. An event tells when it
happened by the database's clock, which must be this machine's too.
"""

import contextlib
import json
import multiprocessing
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import redis

from benchmarks.failures import Unmeasured

START_SECONDS = 30
STOP_SECONDS = 10
POLL_SECONDS = 0.02
BLOCK_MS = 50
AT_ONCE = 5_000
LOCAL = "127.0.0.1"
EVENT = re.compile(rb"\nid: \d+-\d+\nevent: \S+\ndata: (\{.*\})\n")

Raw = tuple[bytes, float]  # the JSON of an event and when it came


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as a watcher saw it; times are seconds since 1970."""

    seq: int
    type: str
    happened_at: float
    arrived_at: float
    expires_at: float | None

    @property
    def lag_ms(self) -> float:
        return (self.arrived_at - self.happened_at) * 1e3


@dataclass
class Watcher:
    """One that runs. `address` is where it listens, should it be one that is called."""

    _pipe: Connection
    address: str

    def collect(self, *, until: int, patience_seconds: float) -> list[Seen]:
        """What came since the last time, once the event of that number is there. Raises Unmeasured if it never is."""
        deadline = time.monotonic() + patience_seconds
        while self._ask("newest") < until:
            if time.monotonic() > deadline:
                raise Unmeasured(f"event {until} had not come after {patience_seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        found: list[Seen] = self._ask("collect")
        return found

    def _ask(self, what: str) -> Any:  # noqa: ANN401  -- a number or a list
        self._pipe.send(what)
        return self._pipe.recv()


def complete(seen: Sequence[Seen], *, after: int, until: int) -> Sequence[Seen]:
    """The same events, if they are all of those numbers, once each and in order. Raises Unmeasured otherwise."""
    numbers = [event.seq for event in seen]
    wanted = list(range(after + 1, until + 1))
    if numbers != wanted:
        missing = len(set(wanted) - set(numbers))
        raise Unmeasured(f"of {len(wanted)} events {missing} missing, {len(numbers)} came, or they were out of order")
    return seen


@contextlib.contextmanager
def watching(follow: Callable[..., None], *arguments: object) -> Iterator[Watcher]:
    """`stream`, `sse` or `webhook` with its arguments in a process of its own, connected when the block begins."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_follow, args=(follow, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()  # else its end could not be noticed here
    try:
        if not ours.poll(START_SECONDS):
            raise Unmeasured(f"{follow.__name__}: not connected after {START_SECONDS} s")
        yield Watcher(ours, ours.recv())
    finally:
        ours.close()
        process.join(STOP_SECONDS)
        process.kill()
        process.join()


def _follow(follow: Callable[..., None], *arguments: object) -> None:
    """In the process of its own: Ctrl-C is for the one that started it, which then hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow(*arguments)


def stream(pipe: Connection, redis_url: str, prefix: str) -> None:
    """Read the Redis Stream from its present end on, as any consumer does."""
    client: Any = redis.Redis.from_url(redis_url)  # typed for both ways of decoding at once
    key = f"{prefix}events"
    newest = client.xrevrange(key, count=1)
    last_id = newest[0][0] if newest else b"0-0"
    log = _Log()
    pipe.send("")
    while log.serve(pipe):
        for _, entries in client.xread({key: last_id}, count=AT_ONCE, block=BLOCK_MS) or ():
            now = time.time()  # noqa: TID251  -- compared with the times of the events
            log.note([(fields[b"e"], now) for _, fields in entries])
            last_id = entries[-1][0]


def sse(pipe: Connection, url: str, headers: Mapping[str, str]) -> None:
    """Read the event stream of the API from now on."""
    log, rest = _Log(), b""
    with open_stream(url, headers) as connection:
        connection.settimeout(BLOCK_MS / 1e3)
        pipe.send("")
        while log.serve(pipe):
            with contextlib.suppress(TimeoutError):
                data = connection.recv(1 << 20)
                now = time.time()  # noqa: TID251  -- compared with the times of the events
                assert data, "the API hung up"
                rest += data
                whole = rest.rfind(b"\n\n") + 1
                log.note([(found[1], now) for found in EVENT.finditer(rest, 0, whole + 1)])
                rest = rest[whole:]


def open_stream(url: str, headers: Mapping[str, str]) -> socket.socket:
    """A connection on which the API has begun to send events. Raises Unmeasured when it says anything else."""
    parts = urlsplit(url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection = socket.create_connection((str(parts.hostname), int(parts.port or 80)), timeout=START_SECONDS)
    connection.sendall(f"GET /api/v1/events/stream?after=latest HTTP/1.1\r\nHost: farm\r\n{lines}\r\n".encode())
    head = connection.recv(4_096)
    if not head.startswith(b"HTTP/1.1 200"):
        connection.close()
        raise Unmeasured(f"no event stream: {head!r}")
    return connection


def webhook(pipe: Connection) -> None:
    """Be the receiver of a webhook."""
    log = _Log()

    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            log.note([(body, time.time())])  # noqa: TID251  -- compared with the times of the events
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """A line for each would drown the figures."""

    server = ThreadingHTTPServer((LOCAL, 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(f"http://{LOCAL}:{server.server_address[1]}/")
    while log.serve(pipe):
        time.sleep(POLL_SECONDS)


class _Log:
    """What came, as it came; it is read only when somebody asks."""

    def __init__(self) -> None:
        self._raw: list[Raw] = []
        self._newest = 0

    def note(self, came: Sequence[Raw]) -> None:
        self._raw.extend(came)

    def serve(self, pipe: Connection) -> bool:
        """Answer what was asked; False when nobody will ask any more."""
        try:
            while pipe.poll():
                pipe.send(self._collect() if pipe.recv() == "collect" else self._number())
        except (EOFError, OSError):
            return False
        return True

    def _number(self) -> int:
        if self._raw:
            self._newest = int(json.loads(self._raw[-1][0])["sequence"])
        return self._newest

    def _collect(self) -> list[Seen]:
        raw, self._raw = self._raw, []
        return [_read(*one) for one in raw]


def _read(body: bytes, arrived_at: float) -> Seen:
    event = json.loads(body)
    expires_at = event["data"].get("expires_at")
    return Seen(
        int(event["sequence"]),
        event["type"],
        datetime.fromisoformat(event["time"]).timestamp(),
        arrived_at,
        None if expires_at is None else datetime.fromisoformat(expires_at).timestamp(),
    )
