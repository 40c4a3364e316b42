"""Puts the app together: the only place, besides the process's entry, that reads settings."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine

from api.auth.key_lookup import KeyLookup
from api.best_effort.after_commit import AfterCommit
from api.best_effort.cache_writer import CacheWriter
from api.best_effort.wake_ups import WakeUps
from api.events.sse_response import Streams
from api.events.tailer import Tailer
from api.execution.database_threads import Database
from api.execution.dispatcher import Dispatcher
from api.execution.group_commit import REQUEST_VERBS, GroupCommit
from api.execution.pool_sizes import PoolSizes
from api.http import errors, query_parameters
from api.middleware import rates
from api.middleware.authentication import Authentication, document_as_open, refuse_open_routes
from api.middleware.body_limit import BodyLimit
from api.middleware.fast_routes import FastRoutes
from api.middleware.limits import Limits
from api.middleware.observer import Observer
from api.middleware.stack import App, Layer
from api.middleware.whole_bodies import WholeBodies
from api.observability import health
from api.observability.metrics import Metrics
from api.routes import events, keys, locks, operations, pools, requests, stats, swagger, users, webhooks
from api.services import Background, LockPolicy, Services
from domain import sealing
from domain.configuration.settings import Settings
from domain.postgres import engines
from domain.redis.cache import Cache
from domain.requests import Undo

STATIC = Path(__file__).parent / "static"


def create_app(settings: Settings, *, counters: str | None = None) -> App:
    """An app with services of its own; nothing is connected before it starts. For `counters` see `Metrics`."""
    app = App(
        title="Botfarm",
        summary="Exclusive, expiring locks on a farm of bot users",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        dependencies=[Depends(query_parameters.refuse_unknown)],
    )
    app.state.settings = settings
    app.state.services = services = _services(settings, counters=counters)
    errors.install(app)
    modules = (pools, users, locks, requests, events, webhooks, keys, stats, operations, swagger)
    refuse_open_routes(module.router for module in modules)
    for module in modules:
        app.include_router(module.router)
    if services.identities.off:
        document_as_open(app)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.stand_behind(_layers(settings, services))
    return app


def _layers(settings: Settings, services: Services) -> Iterator[Layer]:
    """The innermost first."""
    yield BodyLimit
    yield partial(FastRoutes, services=services, routers=[pools.router, locks.router])
    yield WholeBodies
    yield partial(Authentication, identities=services.identities)
    rate = rates.rate_of(settings.rate_limit)
    yield partial(Limits, open_most=settings.concurrency, rate=rate, by_key=settings.auth == "keys")
    if settings.cors_origins:
        yield partial(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-Request-ID"],
            expose_headers=["Link", "Location", "Retry-After", "X-Cache", "X-Cursor", "X-Request-ID"],
        )
    yield partial(Observer, metrics=services.metrics)


class _Engines:
    """Makes engines on the one database, and remembers them all for the end."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url
        self.made: list[Engine] = []

    def engine(self, **options: Any) -> Engine:  # noqa: ANN401  -- those of `engines.engine`
        self.made.append(engines.engine(self._url, name="botfarm-api", **options))
        return self.made[-1]


@dataclass(frozen=True)
class _Execution:
    """What makes changes. The four call each other, so they are made together; see `_execution`."""

    commits: GroupCommit
    requests: GroupCommit
    dispatcher: Dispatcher
    hints: WakeUps


def _services(settings: Settings, *, counters: str | None) -> Services:
    """Everything that the routes call on, each made whole. What is named in a lambda is made below it."""
    sizes, database_engines, stopping = PoolSizes.of(settings), _Engines(settings), threading.Event()
    engine = database_engines.engine
    cache = Cache(settings.redis_url, prefix=settings.redis_prefix)
    writer = CacheWriter(cache)
    checked = health.database(engine(pool_size=sizes.health, patience_seconds=2))
    monitor = health.Monitor({"database": checked, "redis": health.broker(settings.redis_url)})
    metrics = Metrics(
        figures=lambda: monitor.figures("database"),
        waiting=lambda: execution.commits.waiting(),  # noqa: PLW0108  -- made below
        counters=counters,
    )
    execution = _execution(settings, database_engines, metrics=metrics, writer=writer, stopping=stopping)
    database = Database(engine(pool_size=sizes.calls), threads=sizes.calls)
    reading = engine(pool_size=sizes.tailer, autocommit=True, prepare=True)
    tailer = Tailer(reading, stopping=stopping, figures=metrics.streams)
    return Services(
        database=database,
        identities=KeyLookup(database, off=settings.auth != "keys"),
        commits=execution.commits,
        requests=execution.requests,
        dispatcher=execution.dispatcher,
        hints=execution.hints,
        background=Background(),
        cache=cache,
        cache_writer=writer,
        ring=sealing.load(text=settings.secret_keys, file=settings.secret_keys_file),
        policy=LockPolicy.of(settings),
        monitor=monitor,
        metrics=metrics,
        engines=database_engines.made,
        streams=Streams(database, tailer, metrics.streams),
        webhook_networks=settings.webhook_allow_networks,
        webhooks_most=settings.webhooks_most,
        stopping=stopping,
    )


def _execution(
    settings: Settings, made: _Engines, *, metrics: Metrics, writer: CacheWriter, stopping: threading.Event
) -> _Execution:
    """The lanes and the waiting line. Nothing of it runs before it is started, so a lambda may name what is below."""
    sizes, home = PoolSizes.of(settings), uuid.uuid4()
    hints = WakeUps(
        settings.redis_url,
        prefix=settings.redis_prefix,
        home=home,
        granted=lambda: dispatcher.fetch(),  # noqa: PLW0108  -- made below
        joined=lambda: dispatcher.expect(),  # noqa: PLW0108  -- likewise
    )
    dispatcher = Dispatcher(
        made.engine(pool_size=sizes.dispatcher, pre_ping=False, prepare=True),
        home=home,
        tell=hints.tell,
        hinted=lambda: hints.connected,
        unclaimed=lambda key, granted: pools.undo(Undo(key, unless_claimed=True, granted_at=granted.granted_at)),
        handed_over=lambda granted: after_commit.of_requests(granted),  # noqa: PLW0108  -- likewise
        stopping=stopping,
    )
    after_commit = AfterCommit(metrics, writer, dispatcher)
    # The lanes try again by themselves, so their connections need no check before use.
    single = made.engine(pool_size=sizes.changes, autocommit=True, pre_ping=False, prepare=True, generic=True)
    commits = GroupCommit(single, lanes=settings.lanes, after_commit=after_commit.of_changes)
    several = made.engine(pool_size=sizes.requests, pre_ping=False, prepare=True)
    pools = GroupCommit(several, verbs=REQUEST_VERBS, lanes=1, after_commit=after_commit.of_requests)
    return _Execution(commits, pools, dispatcher, hints)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start the threads, and end them in the order in which work flows, so that nothing accepted is left undone."""
    services: Services = app.state.services
    services.monitor.start()
    services.cache_writer.start()
    services.commits.start()
    services.requests.start()
    services.hints.start()
    services.dispatcher.start()
    services.streams.tailer.start()
    try:
        yield
    finally:
        await asyncio.to_thread(services.streams.tailer.close)
        await asyncio.to_thread(services.dispatcher.close)  # what it grants to calls that are gone, `requests` undoes
        await services.requests.close()
        await services.commits.close()
        services.hints.close()
        await asyncio.to_thread(services.database.close)
        services.cache_writer.close()
        services.monitor.close()
        services.cache.close()
        for engine in services.engines:
            engine.dispose()
