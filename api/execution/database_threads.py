"""Domain calls from the event loop: each in a thread, in its own transaction, and never for longer than promised."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from domain.errors import DatabaseUnavailable, Overloaded
from domain.postgres import engines

P = ParamSpec("P")
T = TypeVar("T")

WAITING_PER_THREAD = 50


class Database:
    """Runs domain functions on `threads` connections of the engine, each call within `patience_seconds`."""

    def __init__(self, engine: Engine, *, threads: int, patience_seconds: float = 4.0) -> None:
        self._engine = engine
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="database")
        self._patience_seconds = patience_seconds
        self._open = 0
        self._most = threads * WAITING_PER_THREAD

    async def run(self, call: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, after its transaction has committed: no answer leaves before that.

        Raises DatabaseUnavailable when Postgres fails or has not answered in time, Overloaded when too many wait.
        """
        if self._open >= self._most:
            raise Overloaded
        self._open += 1
        try:
            job = self._pool.submit(self._transact, call, args, kwargs)
            return await asyncio.wait_for(asyncio.wrap_future(job), self._patience_seconds)
        except TimeoutError:
            raise DatabaseUnavailable from None
        except SQLAlchemyError as error:
            if engines.unavailable(error):
                raise DatabaseUnavailable from error
            raise
        finally:
            self._open -= 1

    def close(self) -> None:
        """Wait for the calls under way; called off the event loop."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _transact(self, call: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        with self._engine.begin() as conn:
            return call(conn, *args, **kwargs)
