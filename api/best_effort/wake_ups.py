"""WakeUps between API processes over Redis: wake-ups that save a poll, and that may all be lost.

Nothing waits for Redis here: hints go out on a thread of their own from a bounded queue that drops, and come in on
another. redis-py would retry a hanging call with back-off; here a failure only means that everybody polls faster.
"""

import queue
import threading
import time
from collections.abc import Callable
from uuid import UUID

from redis.client import PubSub
from redis.exceptions import RedisError

from domain import log
from domain.redis import clients

WAITING_MOST = 1_000
TIMEOUT_SECONDS = 0.2
LISTEN_SECONDS = 0.5
PAUSE_SECONDS = 1.0
EVERYBODY = "everybody"
EVERYBODY_SECONDS = 0.1  # telling them more often tells them nothing

log_ = log.get(__name__)


class WakeUps:
    """Tells other processes what happened here, and calls us when one of them tells.

    `granted`: there is a grant for a caller at this home. `joined`: somebody somewhere has joined the line.
    """

    def __init__(
        self, url: str, *, prefix: str, home: UUID, granted: Callable[[], None], joined: Callable[[], None]
    ) -> None:
        self._client = clients.connect(url, timeout_seconds=TIMEOUT_SECONDS)
        self._prefix = f"{prefix}line:"
        self._home = str(home)
        self._granted = granted
        self._joined = joined
        self._last_broadcast_at = float("-inf")
        self._outgoing: queue.Queue[str] = queue.Queue(WAITING_MOST)
        self._closing = threading.Event()
        self.connected = False

    def start(self) -> None:
        for job in (self._send, self._listen):
            threading.Thread(target=job, name=f"hints-{job.__name__}", daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._put("")

    def tell(self, home: UUID) -> None:
        """There is a grant for a caller at that home."""
        self._put(str(home))

    def tell_everybody(self) -> None:
        """Somebody has joined the line: whoever frees a user should run a pass."""
        if time.monotonic() > self._last_broadcast_at + EVERYBODY_SECONDS:
            self._last_broadcast_at = time.monotonic()
            self._put(EVERYBODY)

    def _put(self, channel: str) -> None:
        try:
            self._outgoing.put_nowait(channel)
        except queue.Full:
            return

    def _send(self) -> None:
        while channel := self._outgoing.get():
            try:
                self._client.publish(self._prefix + channel, b"")
            except RedisError:
                self._drop_all()
                self._closing.wait(PAUSE_SECONDS)

    def _drop_all(self) -> None:
        while not self._outgoing.empty() and not self._closing.is_set():
            self._outgoing.get_nowait()

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
                    pubsub.subscribe(self._prefix + self._home, self._prefix + EVERYBODY)
                    self._hear(pubsub)
            except RedisError as error:
                if self.connected:
                    log_.warning("hints_unavailable", error=type(error).__name__)
            self.connected = False
            self._closing.wait(PAUSE_SECONDS)

    def _hear(self, pubsub: PubSub) -> None:
        while not self._closing.is_set():
            message = pubsub.get_message(timeout=LISTEN_SECONDS)
            if message is None:
                if self.connected:
                    pubsub.ping()
            elif message["type"] == "message":  # the answer to a ping comes this way too, and has no channel
                everybody = message["channel"].decode().endswith(EVERYBODY)
                (self._joined if everybody else self._granted)()
            self.connected = True
