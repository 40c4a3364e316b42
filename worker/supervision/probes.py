"""What Postgres and Redis say, asked in the background once a second: whatever hangs, a report is there at once."""

from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine

from domain import heartbeats, locks, webhooks
from domain.events import epochs, outbox
from domain.processes.probes import Figures

PATIENCE_SECONDS = 2.0


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
