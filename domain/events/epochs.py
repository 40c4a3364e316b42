"""The relay's place in the one order of events, and the epochs that tell one history from another.

A cursor is `<epoch>-<seq>`. `seq` goes on for ever; the epoch is raised when the database turns out to be another
one than before (restored from a copy, failed over to a lagging standby), because numbers given out after the copy
was taken may then be given out again for other events. The epoch is also the upper part of every fencing token, so no
lock is granted before it was raised: see `tokens`.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, text, update

from domain import log
from domain.tables import epochs, events, relay_state

log_ = log.get(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """`last_seq` is the last number given, `published_seq` the last that is known to be on the stream."""

    epoch: int
    incarnation: str | None
    last_seq: int
    published_seq: int


@dataclass(frozen=True, slots=True)
class Look:
    """What a relay must know before it does anything: `found` is which database this is, by its own account.

    `published_epoch` is the epoch whose history holds `published_seq`, which need not be that of the state.
    """

    state: State
    found: str
    published_epoch: int

    @property
    def known(self) -> bool:
        """Whether this is the database that the state is about."""
        return self.state.incarnation == self.found


# The timeline of the control file would not do: after a promotion it is the old one until the next checkpoint.
TIMELINE = "CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
CLUSTER = "(SELECT system_identifier FROM pg_control_system())"
DATABASE = "(SELECT oid FROM pg_database WHERE datname = current_database())"
THIS_DATABASE = f"{CLUSTER} || '/' || {TIMELINE} || '/' || {DATABASE}"

# The same for statements that are executed all the time. A server process belongs to one database of one cluster for as
# long as it lives, so it notes them in a setting of its own and reads no control file again; only the timeline changes
# under it. Unlike what a client would remember, the note stays right behind a pooler.
THIS_DATABASE_NOTED = f"""replace(
    coalesce(
        nullif(current_setting('botfarm.database', true), ''),
        set_config('botfarm.database', {CLUSTER} || '/?/' || {DATABASE}, false)
    ), '?', {TIMELINE})"""

INCARNATION = text(f"SELECT {THIS_DATABASE}")

# One statement, for a relay executes it in every turn, and a statement costs more than what it looks up.
_LOOK = f"""
SELECT r.epoch, r.incarnation, r.last_seq, r.published_seq, {THIS_DATABASE} AS found,
    (SELECT max(e.epoch) FROM epochs e WHERE e.first_seq <= greatest(r.published_seq, 1)) AS published_epoch
FROM relay_state r
"""
LOOK = text(_LOOK)
LOOK_AND_LOCK = text(f"{_LOOK} FOR UPDATE OF r")

# Grants adopt as well as relays, several at once and some without BEGIN. Sent together, the two statements are one
# transaction. The row is locked by the first: the second then sees what an earlier holder of the lock has done, and no
# table is locked before the row (`partitions` locks the row first as well, so the two cannot deadlock).
#
# The epoch rises by as much as the timeline did. A standby of a server that was itself promoted may have lost that
# server's raise of the epoch, but it knows its timeline, because that is written ahead of everything else.
ADOPT = text(f"""
SELECT FROM relay_state FOR UPDATE;
WITH this AS MATERIALIZED (
    SELECT {THIS_DATABASE} AS incarnation
), other AS MATERIALIZED (
    SELECT r.*, this.incarnation AS found, r.incarnation IS NOT NULL AS raised,
        CASE WHEN r.incarnation IS NULL THEN 0
            WHEN r.incarnation ~ '^[0-9]+/[0-9A-F]{{8}}/[0-9]+$' THEN greatest(1,
                ('x' || split_part(this.incarnation, '/', 2))::bit(32)::int
                - ('x' || split_part(r.incarnation, '/', 2))::bit(32)::int)
            ELSE 1 END AS rise
    FROM relay_state r CROSS JOIN this WHERE r.incarnation IS DISTINCT FROM this.incarnation
), begun AS (
    INSERT INTO epochs (epoch, first_seq) SELECT epoch + rise, published_seq + 1 FROM other WHERE raised
), taken_over AS (
    UPDATE events SET epoch = (SELECT epoch + rise FROM other)
    WHERE seq > (SELECT published_seq FROM other WHERE raised)
)
UPDATE relay_state r SET incarnation = o.found, epoch = o.epoch + o.rise FROM other o WHERE r.id = o.id
RETURNING o.incarnation AS was, o.found, o.raised, r.epoch
""")

ADVANCE = (
    update(relay_state)
    .where(relay_state.c.epoch == bindparam("of_epoch"))
    .values(published_seq=func.greatest(relay_state.c.published_seq, bindparam("up_to")))
)


def read(conn: Connection) -> State:
    return _state(conn.execute(_row()).one())


def lock(conn: Connection) -> State:
    """The state, with its row locked until the transaction ends: the only mutex between relays."""
    return _state(conn.execute(_row().with_for_update()).one())


def look(conn: Connection) -> Look:
    """The state and what it must be compared with, of one moment."""
    return _look(conn.execute(LOOK).one())


def lock_and_look(conn: Connection) -> Look:
    """The same with the row locked until the transaction ends, as `lock` does it."""
    return _look(conn.execute(LOOK_AND_LOCK).one())


def advance(conn: Connection, *, epoch: int, published_seq: int) -> None:
    """Note that the stream has held everything up to `published_seq`; a relay of an older epoch notes nothing.

    It never goes back: of two relays the slower one must not undo what the faster one noted.
    """
    conn.execute(ADVANCE, {"of_epoch": epoch, "up_to": published_seq})


def incarnation(conn: Connection) -> str:
    """Which database this is: system identifier, timeline and database oid.

    A restored copy differs in one of them: a base backup by its timeline, a dump by cluster or oid.
    """
    return str(conn.execute(INCARNATION).scalar_one())


def adopt(conn: Connection) -> bool:
    """Note the incarnation on the first run; raise the epoch when it is not the one noted. True when raised.

    The new epoch begins as `start` begins one. Of several callers one raises the epoch; the others find that it was
    raised. Works on a connection that autocommits too.
    """
    adopted = conn.execute(ADOPT).one_or_none()
    if adopted is None or not adopted.raised:
        return False
    log_.critical("incarnation_changed", was=adopted.was, found=adopted.found, epoch=adopted.epoch)
    return True


def start(conn: Connection, *, epoch: int) -> int:
    """Begin `epoch` with the first event that is not published yet, unless it has begun; returns its first seq.

    Numbers given but not published are taken over: under their old epoch the stream may know them as other events.
    """
    state = lock(conn)
    first_seq = state.published_seq + 1
    if epoch <= state.epoch:
        return first_seq
    conn.execute(insert(epochs).values(epoch=epoch, first_seq=first_seq))
    conn.execute(update(events).where(events.c.seq >= first_seq).values(epoch=epoch))
    conn.execute(update(relay_state).values(epoch=epoch))
    return first_seq


def of_seq(conn: Connection, *, seq: int) -> int:
    """The epoch whose history holds `seq`."""
    held = select(func.max(epochs.c.epoch)).where(epochs.c.first_seq <= max(seq, 1))
    return int(conn.execute(held).scalar_one())


def beat(conn: Connection) -> None:
    """The relay's sign of life."""
    conn.execute(update(relay_state).values(heartbeat_at=func.clock_timestamp()))


def beat_age(conn: Connection) -> float | None:
    """Seconds since a relay was last at work; None when there never was one."""
    age = func.extract("epoch", func.clock_timestamp() - relay_state.c.heartbeat_at)
    seconds = conn.execute(select(age)).scalar_one()
    return None if seconds is None else float(seconds)


def _row() -> Select[Any]:
    columns = relay_state.c
    return select(columns.epoch, columns.incarnation, columns.last_seq, columns.published_seq)


def _state(row: Row[Any]) -> State:
    return State(row.epoch, row.incarnation, row.last_seq, row.published_seq)


def _look(row: Row[Any]) -> Look:
    return Look(_state(row), row.found, row.published_epoch)
