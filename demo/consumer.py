"""A consumer that follows the Redis Stream, and a reader of the HTTP feed."""

import json
import threading
import time
from http import HTTPStatus
from typing import Any, Self

import httpx
import redis

from demo.errors import DemoError
from demo.events import Event

FIELD = b"e"
BATCH = 1_000
BLOCK_MS = 200
PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 0.2
PAGE_EVENTS = 1_000


class Consumer(threading.Thread):
    """Reads the stream after `after`, as long as the context lasts.

    Each event is kept with the moment it was read; an entry that is no event of Botfarm is kept in `problems`, as is a
    Redis that does not answer.
    """

    def __init__(self, url: str, *, key: str, after: str) -> None:
        super().__init__(name="consumer", daemon=True)
        # Protocol 2, which every Redis speaks, answers in one shape. A blocking read is shorter than the time-out.
        self._redis = redis.Redis.from_url(url, protocol=2, socket_timeout=PATIENCE_SECONDS)
        self._key = key
        self._last = after
        self._over = threading.Event()
        self.events: list[Event] = []
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._redis.close()

    def reached(self, event: Event) -> bool:
        """Whether as much was read as up to this event."""
        return bool(self.events) and self.events[-1].place >= event.place

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._read()
            except redis.RedisError as error:
                self.problems.append(f"stream: {type(error).__name__}: {error}")
                self._over.wait(PAUSE_SECONDS)

    def _read(self) -> None:
        found: Any = self._redis.xread({self._key: self._last}, count=BATCH, block=BLOCK_MS)
        # The wall clock decides nothing here: it is compared with the database's, which is this machine's.
        read_at = time.time()  # noqa: TID251
        for entry_id, fields in (entry for _, entries in found for entry in entries):
            self._last = entry_id.decode()
            self._take(fields, read_at=read_at)

    def _take(self, fields: dict[bytes, bytes], *, read_at: float) -> None:
        try:
            event = Event.parse(json.loads(fields[FIELD]), read_at=read_at)
        except (KeyError, TypeError, ValueError) as error:
            self.problems.append(f"stream entry {self._last}: {type(error).__name__}: {error}")
            return
        if event.cursor != self._last:
            self.problems.append(f"stream entry {self._last} calls itself {event.cursor}")
        self.events.append(event)


def latest(http: httpx.Client) -> str:
    """The cursor of the newest event, or the place before the first. Raises DemoError when there is no feed."""
    try:
        response = http.get("events", params={"after": "latest"})
    except httpx.HTTPError as error:
        raise DemoError(f"the API at {http.base_url} does not answer: {error}") from error
    if response.status_code != HTTPStatus.OK:
        raise DemoError(f"the API answers {response.status_code} to GET {response.url.path}")
    return response.headers["X-Cursor"]


def read_feed(http: httpx.Client, *, after: str) -> list[Event]:
    """Every event after the cursor, page by page."""
    found: list[Event] = []
    caught_up = False
    while not caught_up:
        response = http.get("events", params={"after": after, "limit": PAGE_EVENTS}).raise_for_status()
        found += map(Event.parse, response.json())
        after, caught_up = response.headers["X-Cursor"], response.headers["X-Caught-Up"] == "true"
    return found
