"""What Postgres and Redis say, asked in the background once a second: whatever hangs, a report is there at once."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine

from domain import heartbeats, locks, webhooks
from domain.events import epochs, outbox

EVERY_SECONDS = 1.0
STALE_SECONDS = 3.5  # a probe that has said nothing for so long hangs
PATIENCE_SECONDS = 2.0

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """`figures` is None when the probe failed; `at` is in monotonic seconds."""

    figures: Figures | None
    at: float
    error: str | None = None


class Probe:
    """Asks again and again, in a thread of its own."""

    def __init__(self, name: str, ask: Callable[[], Figures]) -> None:
        self.name = name
        self._ask = ask
        self._finding = Finding(None, time.monotonic(), "not asked yet")

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"probe-{self.name}", daemon=True).start()

    def finding(self) -> Finding:
        """The last finding, unless it is so old that the probe must hang."""
        last = self._finding
        if time.monotonic() - last.at > STALE_SECONDS:
            return Finding(None, last.at, "no answer")
        return last

    def _run(self) -> None:
        while True:
            self._finding = self._look()
            time.sleep(EVERY_SECONDS)

    def _look(self) -> Finding:
        try:
            return Finding(self._ask(), time.monotonic())
        except Exception as error:  # noqa: BLE001  -- whatever it is, it is what was found
            return Finding(None, time.monotonic(), type(error).__name__)


def postgres(engine: Engine) -> Callable[[], Figures]:
    """All that the database knows of the worker's work."""

    def ask() -> Figures:
        with engine.begin() as conn:
            state = epochs.read(conn)
            pending, oldest_seconds = outbox.backlog(conn)
            lapsed, _ = locks.lapsed(conn)
            hooks = webhooks.figures(conn)
            return {
                "epoch": state.epoch,
                "last_seq": state.last_seq,
                "relay_lag": state.last_seq - state.published_seq,
                "outbox_pending": pending,
                "outbox_oldest_seconds": oldest_seconds or 0.0,
                "locks_lapsed": lapsed,
                "webhooks_active": hooks.active,
                "webhooks_failing": hooks.failing,
                "webhooks_paused": hooks.paused,
                "webhooks_disabled": hooks.disabled,
                "webhooks_lag": hooks.lag,
                "heartbeats": heartbeats.ages(conn),
            }

    return ask


def broker(url: str) -> Callable[[], Figures]:
    """Whether Redis answers."""
    client = redis.Redis.from_url(
        url,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )

    def ask() -> Figures:
        client.ping()
        return {}

    return ask
