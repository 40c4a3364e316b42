"""A witness: a consumer that reads the stream from beginning to end by its cursor alone, whatever happens to it."""

import threading
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.chaos.accounts import is_ours
from tests.chaos.ledger import Entry

PAUSE_SECONDS = 0.02


class Witness:
    """Remembers every entry after its cursor, once. It looks past foreign entries, as a client of ours does."""

    def __init__(self, url: str, *, key: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        self._key = key
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.cursor = "0-0"
        self.seen = list[Entry]()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except RedisError:
                time.sleep(PAUSE_SECONDS)
            time.sleep(PAUSE_SECONDS)

    def _read(self) -> None:
        found: Any = self._client.xrange(self._key, min=f"({self.cursor}", count=1_000)
        for entry_id, fields in found:
            entry = is_ours(entry_id, fields)
            if entry is not None:
                self.seen.append(entry)
                self.cursor = entry_id
