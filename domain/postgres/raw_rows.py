"""The rows of statements that are executed all the time, without a result of SQLAlchemy's around them.

Such a result costs, for the thirty columns and ten rows of a usual batch of lock changes, half of what it takes to
execute the statement and to read the rows. The connection, its transaction and its errors are SQLAlchemy's as ever.
"""

from collections.abc import Mapping
from typing import Any

import psycopg2
from psycopg2.extras import NamedTupleCursor
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from domain.postgres import prepared_statements

Row = Any  # a named tuple of the statement's columns


def rows(conn: Connection, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
    """The rows of a statement in psycopg2's own notation (`%(name)s`).

    Raises what SQLAlchemy would raise. Its events do not fire. Where the engine prepares, this is prepared as well.
    """
    if not conn.in_transaction():
        conn.begin()  # as any execution of SQLAlchemy's would: or it would have nothing to commit
    preparer = prepared_statements.of(conn)
    driver: Any = conn.connection.driver_connection
    with driver.cursor(cursor_factory=NamedTupleCursor) as cursor:
        try:
            if preparer is None:
                cursor.execute(statement, parameters)
            else:
                cursor.execute(*preparer.prepare(conn, cursor, statement, parameters))
            found: list[Row] = cursor.fetchall()
        except psycopg2.Error as error:
            if preparer is not None:
                preparer.notice(error)
            raise _as_sqlalchemy(conn, driver, statement, error) from error
        except BaseException as error:
            if not isinstance(error, Exception):  # called off while it waited: the answer would be taken for the next
                conn.invalidate(error)
            raise
    return found


def _as_sqlalchemy(conn: Connection, driver: Any, statement: str, error: Any) -> BaseException:  # noqa: ANN401
    """After a loss no connection of the pool is trusted: the server that they all had is gone, or another one."""
    lost = conn.dialect.is_disconnect(error, driver, None)
    if lost:
        conn.invalidate(error)
        conn.engine.dispose()
    body: BaseException = DBAPIError.instance(
        statement, None, error, psycopg2.Error, hide_parameters=True, connection_invalidated=lost, dialect=conn.dialect
    )
    return body
