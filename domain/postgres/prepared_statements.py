"""Prepared statements: the statements of an engine are planned once a connection, not once an execution.

Planning a statement of a lock verb takes three times as long as executing it for one user, and psycopg2 cannot have a
statement prepared by the protocol. So an engine that asks for it (`db.engine(prepare=True)`) sends each statement by
SQL's own PREPARE and EXECUTE from its second execution on. Callers notice nothing.

Cached plans grow old: a table that was empty when they were made may hold thousands of rows now. So they are discarded
every few seconds, and made again by the next execution.

Postgres itself chooses between the plan it has and a new one for these parameters, by what the first five cost by its
guess. After five small batches it plans each one again, for as long as the connection lives: three times the work for a
lock change. An engine whose statements have one good plan forbids that (`generic`).

Behind a pooler in transaction mode a connection may find itself on a server process that has not prepared it. The
statement then fails with a code that `engines.unavailable` counts among those worth another try, and the engine
prepares nothing any more.
"""

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from psycopg2.extensions import cursor as Cursor  # noqa: N812  -- it is a class
from sqlalchemy import Connection, Engine, event

from domain import log

OPTION = "botfarm_preparer"  # where an engine's connections find theirs
KNOWN_MOST = 200  # statements a connection; more means that they are composed, and worth no preparing
PLANS_LIVE_SECONDS = 10.0
UNKNOWN_STATEMENT, DUPLICATE_STATEMENT = "26000", "42P05"
FORGOTTEN = frozenset({UNKNOWN_STATEMENT, DUPLICATE_STATEMENT})

PLACEHOLDER = re.compile(r"%\((\w+)\)s")
PREPARABLE = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
UNQUOTED = re.compile(r'["\\]')

GENERIC = "SET plan_cache_mode = force_generic_plan"

TYPES = (
    (bool, "boolean"),
    (int, "bigint"),
    (float, "float8"),
    (timedelta, "interval"),
    (datetime, "timestamptz"),
    (UUID, "uuid"),
)
Parameters = Mapping[str, Any] | Sequence[Any]

log_ = log.get(__name__)


def install(engine: Engine, *, generic: bool = False) -> None:
    """Have the engine's statements prepared; `generic` with one plan for all parameters."""
    preparer = Preparer(generic=generic)
    engine.update_execution_options(**{OPTION: preparer})
    event.listen(engine, "before_cursor_execute", preparer.before_cursor_execute, retval=True)
    event.listen(engine, "handle_error", lambda context: preparer.notice(context.original_exception))


def of(conn: Connection) -> "Preparer | None":
    """Who prepares the statements of this connection's engine, for those that pass SQLAlchemy by (see `raw_rows`)."""
    preparer: Preparer | None = conn.get_execution_options().get(OPTION)
    return preparer


class Preparer:
    """Rewrites executions. What a connection has seen and prepared is noted in its `info`, which ends with it."""

    def __init__(self, *, generic: bool) -> None:
        self._generic = generic
        self._off = False
        self._unfit = set[str]()

    def before_cursor_execute(  # the signature is SQLAlchemy's
        self,
        conn: Connection,
        cursor: Cursor,
        statement: str,
        parameters: Parameters,
        _context: object,
        many: bool,  # noqa: FBT001
    ) -> tuple[str, Parameters]:
        if many or not isinstance(parameters, Mapping):
            return statement, parameters
        return self.prepare(conn, cursor, statement, parameters)

    def prepare(
        self, conn: Connection, cursor: Cursor, statement: str, parameters: Mapping[str, Any]
    ) -> tuple[str, Parameters]:
        """What to execute instead of the statement; it is prepared by the cursor if it was not."""
        if self._off or statement in self._unfit or not _preparable(statement):
            return statement, parameters
        known: dict[str, bool] = conn.info.setdefault("botfarm.prepared", {})
        if statement not in known:
            if len(known) < KNOWN_MOST:
                known[statement] = False
            return statement, parameters
        name, names, body = _translated(statement)
        if not known[statement]:
            if self._generic:
                cursor.execute(GENERIC)
            types = ", ".join(_type(parameters[each]) for each in names)
            self._unfit.add(statement)  # unless it turns out to be fit: a failure here costs one try, not all
            cursor.execute(f"PREPARE {name} ({types}) AS {body}" if names else f"PREPARE {name} AS {body}")
            self._unfit.discard(statement)
            known[statement] = True
        self._refresh(conn, cursor)
        arguments = ", ".join(f"%({each})s" for each in names)
        return f"EXECUTE {name} ({arguments})" if names else f"EXECUTE {name}", _literals(parameters)

    def notice(self, error: BaseException) -> None:
        if getattr(error, "pgcode", None) in FORGOTTEN and not self._off:
            self._off = True
            log_.warning("prepared_statements_off", reason="the connection changed its server: is there a pooler?")

    def _refresh(self, conn: Connection, cursor: Cursor) -> None:
        now = time.monotonic()
        if now > conn.info.setdefault("botfarm.planned_at", now) + PLANS_LIVE_SECONDS:
            cursor.execute("DISCARD PLANS")
            conn.info["botfarm.planned_at"] = now


def _type(value: object) -> str:
    """The type that psycopg2 would give the value in a plain statement; `unknown` is found out by the server."""
    return next((sql for kind, sql in TYPES if isinstance(value, kind)), "unknown")


@lru_cache(maxsize=1_000)
def _preparable(statement: str) -> bool:
    return PREPARABLE.match(statement) is not None and ";" not in statement


@lru_cache(maxsize=1_000)
def _translated(statement: str) -> tuple[str, Sequence[str], str]:
    """A name for the statement, its parameters in order, and its text with `$1`, `$2` … for them."""
    names = list(dict.fromkeys(PLACEHOLDER.findall(statement)))
    body = PLACEHOLDER.sub(lambda found: f"${names.index(found[1]) + 1}", statement).replace("%%", "%")
    return f"botfarm_{hashlib.sha256(body.encode()).hexdigest()[:16]}", names, body


def _literals(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Lists as array literals, which take the type that the statement expects; psycopg2 would say `text[]`."""
    return {name: _array(value) if isinstance(value, list) else value for name, value in parameters.items()}


def _array(values: Sequence[Any]) -> str:
    """The usual columns of a batch, all text or all numbers or all NULL, are joined without a look at each."""
    kinds = set(map(type, values))
    if kinds == {str}:
        joined = '","'.join(values)
        if "\\" not in joined and joined.count('"') == 2 * (len(values) - 1):
            return f'{{"{joined}"}}'
    elif kinds <= {float, int}:
        return "{" + ",".join(map(repr, values)) + "}"
    elif kinds == {type(None)}:
        return "{" + ",".join(["NULL"] * len(values)) + "}"
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:  # noqa: ANN401  -- whatever a parameter may be
    if value is None:
        return "NULL"
    return '"' + UNQUOTED.sub(r"\\\g<0>", str(value)) + '"'
