"""Fencing tokens: the number of a grant, larger than that of every earlier grant of the user.

A token is `(epoch - 1) << 32` plus the user's `lock_version` at the grant. The version alone is not enough. A standby
that lacks the last transactions of its primary gives the same versions out again once it is promoted, and so does a
database that was restored from a copy. So the epoch stands above the version, and it is raised before such a database
grants anything. In epoch 1 a token equals the version. A token stays below 2^53, which every JSON reader holds exactly,
up to epoch 2^21.

# Why no pair of user and token is granted twice

- *Not by another history.* A statement that grants compares the incarnation of the database it runs in with the one
  that is noted beside the epoch, and grants nothing when they differ. Both are columns of one row, read in one
  snapshot, and `epochs.adopt` writes both in one transaction. So whoever sees its own incarnation there also sees the
  epoch that belongs to it. The check is part of the statement, not of the connection: a connection to a standby
  survives the promotion, and behind a pooler the next statement may run on another server.
- *Not within a history.* A statement that waited for a user's row may have read the epoch before it was raised, while a
  quicker one has already granted in the new epoch. Its token is then one more than the last, which the locked row has.

A statement with nothing to compare, in a database that nobody has used yet, adopts too: locking needs no worker.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from domain.errors import DatabaseUnavailable
from domain.events import epochs
from domain.postgres import raw_rows
from domain.postgres.raw_rows import Row

VERSION_BITS = 32
TRIES = 3  # a second promotion may come right after an adoption, a third one does not

# The epoch, and whether it is that of the database that the statement runs in.
ERA = f"""era AS MATERIALIZED (
    SELECT epoch, coalesce(incarnation = {epochs.THIS_DATABASE_NOTED}, false) AS adopted FROM relay_state WHERE id = 1
)"""
ADOPTED = "(SELECT adopted FROM era)"


def token(user: str, *, version: str) -> str:
    """SQL for the token of a grant; `user` is the locked copy of the row, `version` the lock_version of the grant."""
    return f"""greatest(
            (((SELECT epoch FROM era) - 1)::bigint << {VERSION_BITS}) + {version}, {user}.lock_token + 1)"""


def rows(conn: Connection, statement: str, parameters: Mapping[str, Any]) -> list[Row]:
    """The rows of a statement that grants, of which each has `adopted`; when it was not, adopt and execute it again.

    Raises DatabaseUnavailable when the database changes its incarnation faster than it can be adopted.
    """
    for _ in range(TRIES):
        found = raw_rows.rows(conn, statement, parameters)
        if not found or found[0].adopted:
            return found
        epochs.adopt(conn)
    raise DatabaseUnavailable
