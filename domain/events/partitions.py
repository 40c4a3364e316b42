"""The partitions of `events`: made ahead of the numbers, closed when full or a day old, dropped whole when too old.

Closed early, for a partition is dropped only when its last event is too old: on a quiet farm that would be months
after the first.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, UnaryExpression, func, select, text

from domain.events import epochs
from domain.tables import events, relay_state

SIZE = 1_000_000  # events a partition, at most
STALL = "500ms"  # readers and relay queue behind whoever waits for a table lock


@dataclass(frozen=True, slots=True)
class Partition:
    """Holds `first_seq` to `end_seq`, the end not included."""

    name: str
    first_seq: int
    end_seq: int


KNOWN = text(r"""
SELECT c.relname AS name,
    substring(pg_get_expr(c.relpartbound, c.oid) FROM $$FROM \('?(\d+)$$)::bigint AS first_seq,
    substring(pg_get_expr(c.relpartbound, c.oid) FROM $$TO \('?(\d+)$$)::bigint AS end_seq
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass ORDER BY first_seq
""")


def known(conn: Connection) -> list[Partition]:
    """All partitions, in order."""
    return [Partition(row.name, row.first_seq, row.end_seq) for row in conn.execute(KNOWN)]


def make_ahead(conn: Connection, *, ahead: int = 2) -> list[Partition]:
    """Make partitions until `ahead` empty ones lie beyond the last number; those that were made.

    Each is filled in as a table of its own and then attached, which blocks neither readers nor the relay.
    """
    _alone(conn)
    last_seq = conn.execute(select(relay_state.c.last_seq)).scalar_one()
    end = max((p.end_seq for p in known(conn)), default=1)
    made = []
    while end <= last_seq + ahead * SIZE:
        made.append(_make(conn, first_seq=end, end_seq=end + SIZE))
        end += SIZE
    return made


def close_old(conn: Connection, *, after: timedelta) -> Partition | None:
    """End the partition being filled at the last number, if its first event is older than `after`; the next one.

    No number is given out meanwhile: the row of `relay_state` is locked first, as a relay does before it writes, so
    the two never wait for each other crosswise. Readers wait too, while every row is looked at once; what would take
    longer than STALL is given up. Raises OperationalError then, as when somebody has been reading for long.
    """
    _alone(conn)
    state = epochs.lock(conn)
    filling = next((p for p in known(conn) if p.first_seq <= state.last_seq < p.end_seq - 1), None)
    if filling is None or not _begun(conn, filling, before=after):
        return None  # what is full, or empty, has its end already
    closed = Partition(filling.name, filling.first_seq, state.last_seq + 1)
    conn.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
    conn.execute(text(f"ALTER TABLE events DETACH PARTITION {filling.name}"))
    _attach(conn, closed)
    return _make(conn, first_seq=closed.end_seq, end_seq=filling.end_seq)


def drop_old(conn: Connection, *, keep: timedelta, keep_count: int) -> list[Partition]:
    """Drop every full partition that lies behind the newest `keep_count` events or is older than `keep` as a whole.

    Events that are not yet on the stream are kept whatever their age.
    """
    _alone(conn)
    state = conn.execute(select(relay_state.c.last_seq, relay_state.c.published_seq)).one()
    dropped = []
    for partition in known(conn):
        if partition.end_seq > state.published_seq:
            break
        if partition.end_seq <= state.last_seq - keep_count + 1 or _over(conn, partition, keep=keep):
            conn.execute(text(f"DROP TABLE {partition.name}"))
            dropped.append(partition)
    return dropped


def _alone(conn: Connection) -> None:
    """One worker at a time, and never in the way: a table lock that is not to be had soon is tried again later."""
    conn.execute(text(f"SET LOCAL lock_timeout = '{STALL}'"))
    conn.execute(text(f"SET LOCAL statement_timeout = '{STALL}'"))
    conn.execute(text("SELECT pg_advisory_xact_lock(hashtext('botfarm.partitions'))"))


def _make(conn: Connection, *, first_seq: int, end_seq: int) -> Partition:
    partition = Partition(f"events_p{first_seq:019d}", first_seq, end_seq)
    bounds = f"seq >= {first_seq} AND seq < {end_seq}"
    conn.execute(text(f"CREATE TABLE {partition.name} (LIKE events INCLUDING DEFAULTS, CHECK ({bounds}))"))
    _attach(conn, partition)
    return partition


def _attach(conn: Connection, partition: Partition) -> None:
    bounds = f"FROM ({partition.first_seq}) TO ({partition.end_seq})"
    conn.execute(text(f"ALTER TABLE events ATTACH PARTITION {partition.name} FOR VALUES {bounds}"))


def _begun(conn: Connection, partition: Partition, *, before: timedelta) -> bool:
    """Whether the first event of the partition is older than that."""
    return _older(conn, partition, events.c.seq.asc(), than=before, empty="false")


def _over(conn: Connection, partition: Partition, *, keep: timedelta) -> bool:
    """Whether even the last event of the partition is older than `keep`."""
    return _older(conn, partition, events.c.seq.desc(), than=keep, empty="true")


def _older(conn: Connection, partition: Partition, order: UnaryExpression[int], *, than: timedelta, empty: str) -> bool:
    """Whether the first event of the partition, in this order, is older than that."""
    inside = (events.c.seq >= partition.first_seq, events.c.seq < partition.end_seq)
    first = select(events.c.occurred_at).where(*inside).order_by(order).limit(1).scalar_subquery()
    return bool(conn.execute(select(func.coalesce(first < func.clock_timestamp() - than, text(empty)))).scalar_one())
