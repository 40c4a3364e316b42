"""Relays that die before the n-th call they make to Postgres or Redis, whichever call that is."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from domain.postgres import engines
from worker.relay.relay import Relay
from worker.relay.stream import Stream

# All that a SQLAlchemy dialect does over a connection. BEGIN goes along with the first statement.
POSTGRES_CALLS = ("do_execute", "do_executemany", "do_execute_no_params", "do_commit", "do_rollback", "do_ping")


class Died(BaseException):
    """Not an Exception, for nobody may take it for a failure and go on."""


@dataclass
class Death:
    """Comes before the call of that number, and so right after the one before it; then nothing goes out any more."""

    number: int
    calls: list[str] = field(default_factory=list)
    dead: bool = False

    def call(self, name: str, make: Callable[[], Any], cut: Callable[[], object]) -> Any:
        """Make the call unless dead. `cut` breaks the connection, as the end of a process does."""
        if self.dead:
            raise Died
        self.calls.append(name)
        if len(self.calls) < self.number:
            return make()
        self.dead = True
        cut()
        raise Died


@contextlib.contextmanager
def mortal(database_url: str, redis_url: str, *, prefix: str, death: Death) -> Iterator[Relay]:
    """A relay, alone with its connections, whose every call goes by `death`."""
    engine, single = (
        engines.engine(database_url, name="mortal"),
        engines.engine(database_url, name="mortal", autocommit=True),
    )
    stream = Stream(redis_url, prefix=prefix)
    _watch_engine(engine, death)
    _watch_engine(single, death)
    _watch_stream(stream, death)
    relay = Relay(engine, stream, keep_count=1_000_000, single=single, poll_seconds=0)
    yield relay
    relay.close()
    stream.close()


def _watch_engine(engine: Engine, death: Death) -> None:
    for name in POSTGRES_CALLS:
        setattr(engine.dialect, name, _watched(name, getattr(engine.dialect, name), death))


def _watched(name: str, original: Callable[..., Any], death: Death) -> Callable[..., Any]:
    def call(target: Any, *args: Any, **kwargs: Any) -> Any:
        words = str(args[0]).split() if args else []
        body = f"{name} {' '.join(words[:3])}".strip()
        return death.call(body, lambda: original(target, *args, **kwargs), lambda: _break(target))

    return call


def _break(target: Any) -> None:
    """Close the connection without a word: `target` is its cursor, the pool's hold on it, or itself."""
    if hasattr(target, "dbapi_connection"):
        target.dbapi_connection.close()
    else:
        (target.connection if hasattr(target, "fetchone") else target).close()


def _watch_stream(stream: Stream, death: Death) -> None:
    original: Callable[..., Any] = stream.client.execute_command

    def execute(*args: Any, **options: Any) -> Any:
        return death.call(f"redis {args[0]}", lambda: original(*args, **options), stream.client.close)

    stream.client.execute_command = execute  # type: ignore[method-assign]
