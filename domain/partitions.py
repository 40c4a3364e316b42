"""The partitions of `events`: made ahead of the numbers, dropped whole when their time is over."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, func, select, text

from domain.tables import events, relay_state

SIZE = 1_000_000  # events a partition


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
        made.append(_make(conn, first_seq=end))
        end += SIZE
    return made


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
    conn.execute(text("SET LOCAL lock_timeout = '2s'"))
    conn.execute(text("SELECT pg_advisory_xact_lock(hashtext('botfarm.partitions'))"))


def _make(conn: Connection, *, first_seq: int) -> Partition:
    partition = Partition(f"events_p{first_seq:019d}", first_seq, first_seq + SIZE)
    bounds = f"seq >= {partition.first_seq} AND seq < {partition.end_seq}"
    conn.execute(text(f"CREATE TABLE {partition.name} (LIKE events INCLUDING DEFAULTS, CHECK ({bounds}))"))
    conn.execute(
        text(f"""ALTER TABLE events ATTACH PARTITION {partition.name}
                 FOR VALUES FROM ({partition.first_seq}) TO ({partition.end_seq})""")
    )
    return partition


def _over(conn: Connection, partition: Partition, *, keep: timedelta) -> bool:
    """Whether even the last event of the partition is older than `keep`."""
    inside = (events.c.seq >= partition.first_seq, events.c.seq < partition.end_seq)
    last = select(events.c.occurred_at).where(*inside).order_by(events.c.seq.desc()).limit(1).scalar_subquery()
    return bool(conn.execute(select(func.coalesce(last < func.clock_timestamp() - keep, text("true")))).scalar_one())
