"""The numbered events: what a consumer reads, whichever way it reads."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Row,
    Select,
    Text,
    bindparam,
    cast,
    func,
    select,
    tuple_,
)

from domain.errors import CursorTooOld, CursorUnknown
from domain.events import epochs
from domain.events.cursors import Cursor
from domain.tables import epochs as epoch_rows
from domain.tables import events
from domain.timestamps import utc

SCAN_MOST = 10_000  # how far one filtered read looks, so that a rare match cannot cost a whole history
LATEST = "latest"


@dataclass(frozen=True)
class Event:
    """One event. Its data stay the JSON that the database holds: who only hands them on need not take them apart."""

    cursor: Cursor
    event_id: UUID
    user_id: UUID | None
    lock_version: int | None
    type: str
    json_data: str
    occurred_at: datetime
    traceparent: str | None
    age_seconds: float
    principal: str | None = None

    @cached_property
    def data(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.json_data)
        return found


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events to read: every part that is given must hold. `projects` are those the reader is limited to."""

    types: Collection[str] = field(default_factory=tuple)
    user_id: UUID | None = None
    project_id: UUID | None = None
    env: str | None = None
    projects: frozenset[UUID] | None = None

    def __bool__(self) -> bool:
        return bool(self.types) or any(
            part is not None for part in (self.user_id, self.project_id, self.env, self.projects)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Events in order; `looked` is how far was read, matches or not, and where the next read goes on."""

    events: Sequence[Event]
    looked: Cursor
    caught_up: bool


def as_json(event: Event) -> str:
    """The event as CloudEvents 1.0 JSON (https://github.com/cloudevents/spec, v1.0.2, sequence extension).

    It is written, not encoded: every part is text of ours that needs no quoting, or JSON already.
    """
    subject = "users" if event.user_id else "webhooks"
    entity = str(event.user_id or event.data["webhook_id"])
    version = "" if event.lock_version is None else f'"lockversion":{event.lock_version},'
    trace = "" if event.traceparent is None else f'"traceparent":"{event.traceparent}",'
    return (
        f'{{"specversion":"1.0","id":"{event.event_id}","source":"/botfarm","type":"{event.type}",'
        f'"subject":"{subject}/{entity}","time":"{utc(event.occurred_at)}","datacontenttype":"application/json",'
        f'"sequence":"{event.cursor.seq:020d}","epoch":"{event.cursor.epoch}","cursor":"{event.cursor}",'
        f'"partitionkey":"{entity}",{version}{trace}"data":{event.json_data}}}'
    )


def cloudevent(event: Event) -> dict[str, Any]:
    """The same, taken apart."""
    form: dict[str, Any] = json.loads(as_json(event))
    return form


def read(conn: Connection, *, after: str | None, limit: int, by: Filter) -> Page:
    """One page of the feed after the cursor: None is the oldest event kept, `latest` the end.

    Raises CursorMalformed, CursorTooOld and CursorUnknown.
    """
    state = epochs.read(conn)
    start = _start(conn, after=after, last_seq=state.last_seq)
    last = state.last_seq if not by else min(state.last_seq, start.seq + SCAN_MOST)
    statement = _ordered().where(events.c.seq > start.seq, events.c.seq <= last, *_conditions(by)).limit(limit)
    found = [_of_row(row) for row in conn.execute(statement)]
    if len(found) == limit:
        looked = found[-1].cursor
    else:
        looked = Cursor(epochs.of_seq(conn, seq=last), last) if last > start.seq else start
    return Page(found, looked, caught_up=looked.seq >= state.last_seq)


def newer(conn: Connection, *, after: Cursor, limit: int) -> Page:
    """What has come since `after` was the end: one cheap look as long as nothing has.

    Raises CursorUnknown when this history has no such place any more, CursorTooOld when what followed is gone.
    """
    state = epochs.read(conn)
    if after == Cursor(state.epoch, state.last_seq):
        return Page([], after, caught_up=True)
    if after.epoch == state.epoch and after.seq < state.last_seq:
        within = (events.c.seq > after.seq, events.c.seq <= state.last_seq)
        found = [_of_row(row) for row in conn.execute(_ordered().where(*within).limit(limit))]
        if found and found[0].cursor == Cursor(after.epoch, after.seq + 1):
            return Page(found, found[-1].cursor, caught_up=found[-1].cursor.seq == state.last_seq)
    return read(conn, after=str(after), limit=limit, by=Filter())


def matches(event: Event, by: Filter) -> bool:
    """Whether the filter lets the event through: what `read` asks the database, asked of one event."""
    return (
        (not by.types or event.type in by.types)
        and (by.user_id is None or event.user_id == by.user_id)
        and (by.project_id is None or event.data.get("project_id") == str(by.project_id))
        and (by.env is None or event.data.get("env") == by.env)
        and within(event, by.projects)
    )


def within(event: Event, projects: Collection[UUID] | None) -> bool:
    """Whether the event is of one of these projects, by what it was when it happened; None is all."""
    if projects is None:
        return True
    project_id = event.data.get("project_id")
    return project_id is not None and UUID(project_id) in projects


def following(conn: Connection, *, after: Cursor, limit: int) -> Sequence[Event]:
    """The next events in stream order, for the relay: an event of a newer epoch follows any of an older one."""
    place = {"after_epoch": after.epoch, "after_seq": after.seq, "most": limit}
    return [_of_row(row) for row in conn.execute(FOLLOWING, place)]


def find(conn: Connection, *, seq: int) -> Event | None:
    row = conn.execute(_ordered().where(events.c.seq == seq)).one_or_none()
    return None if row is None else _of_row(row)


def find_same(conn: Connection, *, seq: int, event_id: UUID) -> Event | None:
    """The event of that number if it is that very one: after a rewind a number may name another."""
    found = find(conn, seq=seq)
    return found if found is not None and found.event_id == event_id else None


def history(
    conn: Connection, *, user_id: UUID, limit: int, after: str | None = None, projects: frozenset[UUID] | None = None
) -> Sequence[Event]:
    """One user's events, newest first, those older than the cursor `after`. Raises CursorMalformed."""
    own = _conditions(Filter(user_id=user_id, projects=projects))
    statement = _pictures().where(*own).order_by(events.c.lock_version.desc()).limit(limit)
    if after is not None:
        statement = statement.where(events.c.seq < Cursor.parse(after).seq)
    return [_of_row(row) for row in conn.execute(statement)]


def oldest_seq(conn: Connection) -> int | None:
    return conn.execute(select(func.min(events.c.seq))).scalar_one_or_none()


def at(conn: Connection, *, seq: int) -> Cursor:
    """The cursor of `seq`; 0 is the place before the first event."""
    return Cursor(epochs.of_seq(conn, seq=seq), seq)


def locate(conn: Connection, *, after: str | None) -> Cursor:
    """The place that `after` names, as `read` would begin at; raises as it does."""
    return _start(conn, after=after, last_seq=epochs.read(conn).last_seq)


def _start(conn: Connection, *, after: str | None, last_seq: int) -> Cursor:
    oldest = oldest_seq(conn)
    before_oldest = at(conn, seq=last_seq if oldest is None else min(oldest - 1, last_seq))
    if after is None:
        return before_oldest
    latest = at(conn, seq=last_seq)
    if after == LATEST:
        return latest
    cursor = Cursor.parse(after)
    if not _given_out(conn, cursor, last_seq=last_seq):
        raise CursorUnknown(after, str(latest))
    if cursor.seq < before_oldest.seq:
        raise CursorTooOld(after, str(before_oldest))
    return cursor


def _given_out(conn: Connection, cursor: Cursor, *, last_seq: int) -> bool:
    """Whether this history has a place of that name: the epoch was current at that number."""
    rows = select(epoch_rows.c.epoch, epoch_rows.c.first_seq).order_by(epoch_rows.c.epoch)
    starts: dict[int, int] = {row.epoch: row.first_seq for row in conn.execute(rows)}
    if cursor.epoch not in starts or cursor.seq > last_seq:
        return False
    later = [first for epoch, first in starts.items() if epoch > cursor.epoch]
    return starts[cursor.epoch] - 1 <= cursor.seq < min(later, default=last_seq + 1)


def _pictures() -> Select[Any]:
    """The cursor's parts, then the fields of `Event` in their order."""
    age = func.extract("epoch", func.clock_timestamp() - events.c.occurred_at)
    columns = events.c
    return select(
        columns.epoch,
        columns.seq,
        columns.event_id,
        columns.user_id,
        columns.lock_version,
        columns.type,
        cast(columns.data, Text).label("json_data"),
        columns.occurred_at,
        columns.traceparent,
        cast(age, Double).label("age_seconds"),
        columns.principal,
    )


def _ordered() -> Select[Any]:
    return _pictures().order_by(events.c.seq)


def _conditions(by: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if by.types:
        conditions.append(events.c.type.in_(by.types))
    if by.user_id is not None:
        conditions.append(events.c.user_id == by.user_id)
    if by.project_id is not None:
        conditions.append(events.c.data["project_id"].astext == str(by.project_id))
    if by.env is not None:
        conditions.append(events.c.data["env"].astext == by.env)
    if by.projects is not None:
        conditions.append(events.c.data["project_id"].astext.in_(sorted(map(str, by.projects))))
    return conditions


def _of_row(row: Row[Any]) -> Event:
    values = tuple(row)
    return Event(Cursor(*values[:2]), *values[2:])


def _following() -> Select[Any]:
    after_epoch, after_seq = bindparam("after_epoch", type_=BigInteger), bindparam("after_seq", type_=BigInteger)
    # Within an epoch that the place belongs to, seq alone finds it by the primary key.
    first_seq = select(func.min(epoch_rows.c.first_seq)).where(epoch_rows.c.epoch > after_epoch).scalar_subquery()
    reachable = events.c.seq > func.least(after_seq, first_seq - 1)
    behind = tuple_(events.c.epoch, events.c.seq) > tuple_(after_epoch, after_seq)
    return _ordered().where(reachable, behind).limit(bindparam("most", type_=BigInteger))


FOLLOWING = _following()  # composed once: in every turn of a relay that would cost as much as executing it
