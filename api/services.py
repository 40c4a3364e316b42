"""What the routes call on: made once by the app, taken from it by each route."""

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError

from api.cache_writes import CacheWriter
from api.database import Database
from api.group_commit import GroupCommit
from api.health import Monitor
from api.metrics import Metrics
from domain.cache import Cache
from domain.sealing import KeyRing
from domain.settings import Settings


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


@dataclass(frozen=True)
class Services:
    database: Database
    commits: GroupCommit
    cache: Cache
    cache_writer: CacheWriter
    ring: KeyRing
    policy: LockPolicy
    monitor: Monitor
    metrics: Metrics
    stopping: threading.Event = field(default_factory=threading.Event)  # set by the signal: who waits, waits no longer


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Provided = Annotated[Services, Depends(_services)]
