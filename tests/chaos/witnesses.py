"""Witnesses: consumers that read from beginning to end by their cursor alone, each by another way, whatever happens."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.chaos.accounts import entry_of, is_ours
from tests.chaos.ledger import Entry

PAUSE_SECONDS = 0.02
FEED = "/api/v1/events"
SSE = f"{FEED}/stream"


def bodies(array: str) -> Iterator[str]:
    """The elements of a JSON array, word for word."""
    decoder, place = json.JSONDecoder(), 1
    while place < len(array) - 1:
        _, end = decoder.raw_decode(array, place)
        yield array[place:end]
        place = end + 1


class Witness:
    """Remembers every event after its cursor, once. `seen` are its entries, in the order in which they came."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.cursor = "0-0"
        self.seen = list[Entry]()

    def __str__(self) -> str:
        return f"{type(self).__name__} at {self.cursor}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def read(self) -> None:
        """Go on from the cursor, for a while."""
        raise NotImplementedError

    def note(self, entry: Entry) -> None:
        self.seen.append(entry)
        self.cursor = entry.cursor

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.read()
            except (RedisError, httpx.TransportError):
                time.sleep(PAUSE_SECONDS)
            time.sleep(PAUSE_SECONDS)


class OfStream(Witness):
    """Reads the Redis Stream. It looks past foreign entries, as a client of ours does."""

    def __init__(self, url: str, *, key: str) -> None:
        super().__init__()
        self._client = redis.Redis.from_url(url, decode_responses=True, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        self._key = key

    def stop(self) -> None:
        super().stop()
        self._client.close()

    def read(self) -> None:
        found: Any = self._client.xrange(self._key, min=f"({self.cursor}", count=1_000)
        for entry_id, fields in found:
            entry = is_ours(entry_id, fields)
            if entry is not None:
                self.note(entry)


class OfFeed(Witness):
    """Reads the feed over HTTP."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._client = httpx.Client(base_url=url, timeout=5)

    def stop(self) -> None:
        super().stop()
        self._client.close()

    def read(self) -> None:
        query = {"limit": 1_000, "wait_seconds": 1} | ({"after": self.cursor} if self.seen else {})
        answer = self._client.get(FEED, params=query)
        if answer.status_code == httpx.codes.OK:
            for body in bodies(answer.text):
                self.note(entry_of(json.loads(body)["cursor"], body))


class OfServerSentEvents(Witness):
    """Reads the server-sent events, and reconnects with the id of the last one."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._client = httpx.Client(base_url=url, timeout=2)

    def stop(self) -> None:
        super().stop()
        self._client.close()

    def read(self) -> None:
        headers = {"Last-Event-ID": self.cursor} if self.seen else {}
        with self._client.stream("GET", SSE, headers=headers) as answer:
            body = dict[str, str]()
            for line in answer.iter_lines():
                if self._stopping.is_set():
                    return
                name, _, value = line.partition(":")
                if line:
                    body[name] = value.removeprefix(" ")
                    continue
                self._dispatch(body)
                body = {}

    def _dispatch(self, message: dict[str, str]) -> None:
        """A block of lines is an event when it has data that is one; others only keep the connection or the place."""
        if message.get("event", "").endswith(".v1"):
            self.note(entry_of(message["id"], message["data"]))


def over_http(url: str) -> list[Witness]:
    """One for each way out of the API that there is."""
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    return [OfFeed(url)] + [OfServerSentEvents(url)] * (SSE in paths)
