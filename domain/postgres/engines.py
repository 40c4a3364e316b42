"""Connections to Postgres that never hang, and what their failures mean."""

import asyncio
import json
import select
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.postgres import event_loop, prepared_statements

DEFAULT_PATIENCE_SECONDS = 4.0
READ_ONLY_TRANSACTION = "25006"  # a primary that has become a standby: ask again, the name will move
WORTH_ANOTHER_TRY = {READ_ONLY_TRANSACTION, *prepared_statements.FORGOTTEN}

T = TypeVar("T")


class PatientConnection(psycopg2.extensions.connection):
    """A connection that gives up on a silent server after `patience_seconds`.

    libpq itself waits for ever on a server that is stopped but whose machine still acknowledges packets, and a
    thread waiting there cannot be interrupted.
    """

    patience_seconds: float | None = DEFAULT_PATIENCE_SECONDS


def engine(
    url: str,
    *,
    pool_size: int = 5,
    patience_seconds: float | None = DEFAULT_PATIENCE_SECONDS,
    name: str = "botfarm",
    autocommit: bool = False,
    pre_ping: bool | None = None,
    prepare: bool = False,
    generic: bool = False,
) -> Engine:
    """An engine whose every wait for the server ends after `patience_seconds` with OperationalError.

    `pre_ping` asks whether a pooled connection still works before each use; callers that try again anyway save that,
    and so do those that autocommit unless they say otherwise. `autocommit` saves the two round trips of BEGIN and
    COMMIT where one statement is the whole transaction. `prepare` has statements planned once a connection, `generic`
    never for particular parameters: see `prepared_statements`, for those that run all the time. Used on an event loop
    (see `event_loop`), the pool must hold a connection for each that works at the same time.
    """
    psycopg2.extensions.set_wait_callback(_wait)
    factory = type("Connection", (PatientConnection,), {"patience_seconds": patience_seconds})
    made = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=patience_seconds or 30,
        pool_pre_ping=not autocommit if pre_ping is None else pre_ping,
        pool_recycle=1_800,
        hide_parameters=True,
        isolation_level="AUTOCOMMIT" if autocommit else None,
        json_deserializer=_loads,
        connect_args={"connection_factory": factory, "application_name": name},
    )
    event.listen(made, "do_connect", _connect)
    if prepare:
        prepared_statements.install(made, generic=generic)
    return made


def unavailable(error: BaseException) -> bool:
    """Whether the failure says that the server cannot be asked now, rather than that the question was wrong."""
    if isinstance(error, InterfaceError | OperationalError | PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "pgcode", None) in WORTH_ANOTHER_TRY


def retrying(call: Callable[[], T], *, seconds: float, pause_seconds: float = 0.2) -> T:
    """Call until the server answers or the time is over; then the last failure is raised."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except DBAPIError as error:
            if not unavailable(error) or time.monotonic() + pause_seconds > deadline:
                raise
            time.sleep(pause_seconds)


def _loads(text: str) -> Any:  # noqa: ANN401  -- whatever stands there
    """Labels and metadata are empty more often than not."""
    return {} if text == "{}" else json.loads(text)


def _connect(
    _dialect: object, _record: object, args: Sequence[Any], options: Mapping[str, Any]
) -> psycopg2.extensions.connection | None:
    """On an event loop a thread connects: libpq resolves names, and does not let go meanwhile."""
    if not event_loop.active():
        return None  # as usual
    connected: psycopg2.extensions.connection = event_loop.wait_for(
        asyncio.to_thread(psycopg2.connect, *args, **options)
    )
    return connected


def _wait(connection: Any) -> None:  # noqa: ANN401  -- psycopg2 hands over its own type, or a cursor's
    """psycopg2's wait callback: drive the connection until it is ready, but only for so long."""
    patience = getattr(connection, "patience_seconds", None)
    deadline = None if patience is None else time.monotonic() + patience
    ready = event_loop.ready if event_loop.active() else _ready
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not ready(connection.fileno(), reading=state == psycopg2.extensions.POLL_READ, seconds=remaining):
            raise psycopg2.OperationalError("the database server did not answer in time")


def _ready(fileno: int, *, reading: bool, seconds: float | None) -> bool:
    poller = select.poll()  # select.select would fail beyond 1,024 open files
    poller.register(fileno, select.POLLIN if reading else select.POLLOUT)
    return bool(poller.poll(None if seconds is None else seconds * 1_000))
