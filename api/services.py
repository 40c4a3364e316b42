"""What the routes call on: made once by the app, taken from it by each route."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy import Engine

from api.auth.key_lookup import KeyLookup
from api.best_effort.cache_writer import CacheWriter
from api.best_effort.wake_ups import WakeUps
from api.events.sse_response import Streams
from api.execution.database_threads import Database
from api.execution.dispatcher import Dispatcher
from api.execution.group_commit import GroupCommit
from api.observability.health import Monitor
from api.observability.metrics import Metrics
from domain import log
from domain.configuration.settings import Settings
from domain.errors import Refusal
from domain.redis.cache import Cache
from domain.sealing import KeyRing
from domain.webhooks.addresses import Network

log_ = log.get(__name__)


@dataclass(frozen=True)
class LockPolicy:
    """How long locks last here."""

    ttl: timedelta
    ttl_max: timedelta
    cooldown: timedelta
    lifetime_max: timedelta | None

    @classmethod
    def of(cls, settings: Settings) -> "LockPolicy":
        ttl_max = timedelta(seconds=settings.lock_ttl_max_seconds)
        return cls(settings.lock_ttl, ttl_max, settings.lock_cooldown, settings.lock_lifetime_max)

    def ttl_for(self, seconds: int | None) -> timedelta:
        """The time to live that was asked for, or the default. Raises RequestValidationError above the maximum."""
        if seconds is None:
            return self.ttl
        if seconds > self.ttl_max.total_seconds():
            message = f"Input should be at most {self.ttl_max.total_seconds():.0f}"
            raise RequestValidationError([{"loc": ("body", "ttl_seconds"), "msg": message, "type": "too_large"}])
        return timedelta(seconds=seconds)


class Background:
    """Work that outlives the call which started it; it is kept from being collected, and its failure is logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.get_running_loop().create_task(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _logged(work: Coroutine[object, object, object]) -> None:
    try:
        await work
    except Refusal:
        return  # a refusal is an answer that nobody waits for
    except Exception:
        log_.exception("background_failed")


@dataclass(frozen=True)
class Services:
    """`commits` makes lock changes, `requests` serves requests for users; the dispatcher hands out to those in line.

    `engines` are those of all of them, to be disposed of at the end.
    """

    database: Database
    identities: KeyLookup
    commits: GroupCommit
    requests: GroupCommit
    dispatcher: Dispatcher
    hints: WakeUps
    background: Background
    cache: Cache
    cache_writer: CacheWriter
    ring: KeyRing
    policy: LockPolicy
    monitor: Monitor
    metrics: Metrics
    engines: Sequence[Engine]
    streams: Streams
    webhook_networks: Sequence[Network] = ()
    webhooks_most: int | None = None
    stopping: threading.Event = field(default_factory=threading.Event)  # set by the signal: who waits, waits no longer


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Provided = Annotated[Services, Depends(_services)]
