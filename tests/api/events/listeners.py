"""A client of the event stream that follows the standard, as EventSource of a browser does."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests import patience
from tests.api.farms import EVENTS
from tests.patience import eventually

STREAM = f"{EVENTS}/stream"


@dataclass
class Listener:
    """Listens on a thread of its own until hung up on. `last_event_id` is what it would come back with."""

    events: list[dict[str, Any]] = field(default_factory=list)
    last_event_id: str = ""
    retry_ms: int | None = None
    comments: int = 0
    silent_ids: list[str] = field(default_factory=list)  # of blocks that dispatch nothing
    over: threading.Event = field(default_factory=threading.Event)

    def cursors(self) -> list[str]:
        return [event["cursor"] for event in self.events]

    def kinds(self) -> list[str]:
        return [event["type"].removeprefix("botfarm.").removesuffix(".v1") for event in self.events]

    def has(self, count: int, *, seconds: float = 10.0) -> bool:
        return eventually(lambda: len(self.events) >= count, seconds=seconds)

    def hear(self, answer: http.client.HTTPResponse) -> None:
        block: dict[str, str] = {}
        try:
            while line := answer.readline().decode():
                if line != "\n":
                    self._field(block, line.rstrip("\n"))
                    continue
                self._dispatch(block)
                block = {}
        except (OSError, http.client.HTTPException, AttributeError, ValueError):
            pass  # cut off in the middle
        finally:
            self.over.set()

    def _field(self, block: dict[str, str], line: str) -> None:
        name, _, value = line.partition(": ")
        assert name in {"", "id", "event", "data", "retry"}, line
        assert name not in block, "one line of each kind"
        if name == "":
            self.comments += 1
        elif name == "retry":
            self.retry_ms = int(value)
        else:
            block[name] = value

    def _dispatch(self, block: Mapping[str, str]) -> None:
        """By the standard the id counts even where there is no data, and then nothing is dispatched."""
        self.last_event_id = block.get("id", self.last_event_id)
        if "data" in block:
            event = json.loads(block["data"])
            assert (event["cursor"], event["type"]) == (block["id"], block["event"])
            self.events.append(event)
        elif "id" in block:
            self.silent_ids.append(block["id"])


def ask(url: str, *, last_event_id: str | None = None, buffer: int | None = None, **query: Any) -> Any:
    """The connection, and the answer as far as its head."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=patience.limit(60))
    connection.sock = socket.socket()
    if buffer is not None:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.sock.settimeout(60)
    connection.sock.connect((str(parts.hostname), parts.port))
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    connection.request("GET", f"{STREAM}?{urlencode(query, doseq=True)}", headers=headers)
    return connection, connection.getresponse()


@contextlib.contextmanager
def listening(url: str, **options: Any) -> Iterator[Listener]:
    """A stream that is open: what was asked for has been answered with 200."""
    connection, answer = ask(url, **options)
    assert answer.status == 200, answer.read()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    listener = Listener()
    stream_socket = connection.sock
    thread = threading.Thread(target=listener.hear, args=(answer,), name="listener")
    thread.start()
    try:
        assert eventually(lambda: bool(listener.last_event_id) or listener.over.is_set())
        yield listener
    finally:
        with contextlib.suppress(OSError):
            stream_socket.shutdown(socket.SHUT_RDWR)
        thread.join(patience.limit(10))
        answer.close()
        connection.close()
        assert not thread.is_alive()
