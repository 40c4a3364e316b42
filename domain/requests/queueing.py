"""Standing in line: joining it, being away, leaving it, and taking what was given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from domain import locks
from domain.errors import LineFull, NoUserFree, Refusal, RequestNotFound
from domain.locks import quotas, reservations
from domain.locks.finding import Lease
from domain.requests import ending, matching, records
from domain.requests.ending import Undo
from domain.requests.homes import as_arrays
from domain.requests.records import Ask, Granted, Key, Opened, Place

LINE_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Enqueue:
    """A call at `home` that is willing to wait."""

    ask: Ask
    home: UUID


@dataclass(frozen=True, slots=True)
class Detach:
    """The call of this request at `home` has stopped waiting; its place is kept for a while.

    `gone` when nobody is there to be answered: then a grant of the last moment is taken back, unless the call that
    it was made to is one at another home. `for_good` when it may not come back either: then no place is kept for it.
    """

    ask: Ask
    home: UUID
    gone: bool = False
    for_good: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A request for one user was asked about, by a call that is answered without looking at the line."""

    key: Key
    user_id: UUID

    @property
    def lease(self) -> Lease:
        """A request for one user is known by the id of its lease."""
        principal, lease_id = self.key
        return principal, self.user_id, lease_id


ATTEND = text("""
UPDATE lock_requests SET home = :home, seen_at = clock_timestamp()
WHERE id = ANY (:ids) AND granted_at IS NULL
""")
CLAIM = text("""
UPDATE lock_requests q SET seen_at = clock_timestamp(), confirmed_at = coalesce(q.confirmed_at, clock_timestamp())
FROM unnest(CAST(:principals AS text[]), CAST(:request_ids AS uuid[])) AS k (principal, request_id)
WHERE q.principal = k.principal AND q.request_id = k.request_id AND q.granted_at IS NOT NULL
""")
WAITING = text("SELECT count(*) FROM lock_requests WHERE granted_at IS NULL")
AWAY = text("""
UPDATE lock_requests SET home = NULL, seen_at = clock_timestamp()
WHERE id = ANY (:ids) AND granted_at IS NULL AND home = :home
""")
POSITIONS = text(f"""
WITH {reservations.ALIVE}
SELECT w.id, 1 + count(q.id) AS position
FROM lock_requests w LEFT JOIN lock_requests q
    ON q.granted_at IS NULL AND q.selector = w.selector AND {reservations.ATTENDED}
    AND (q.priority, -q.id) > (w.priority, -w.id)
WHERE w.id = ANY (:ids) GROUP BY w.id
""")


def enqueue(conn: Connection, calls: Sequence[Enqueue]) -> list[Place | Granted | Refusal]:
    """Put each call's request in line, or find it there; a request that was granted is answered with what it has.

    Refusals: LineFull; NoMatchingUser; TooManyLocks; RequestEnded; RequestIdReused.
    """
    asks = [call.ask for call in calls]
    opened = records.open_all(conn, asks, home=calls[0].home)
    outcomes = _refused(conn, asks, opened) | _given(conn, opened)
    old = [row.id for key, row in opened.items() if key not in outcomes and not row.is_new]
    if old:
        conn.execute(ATTEND, {"home": calls[0].home, "ids": old})
    records.forget(
        conn, [opened[key].id for key, refusal in outcomes.items() if records.is_nothing(refusal, opened[key])]
    )
    return [
        records.reused(ask, opened[ask.key]) or outcomes.get(ask.key) or Place(opened[ask.key].id, ask.request_id)
        for ask in asks
    ]


def detach(conn: Connection, calls: Sequence[Detach]) -> list[Granted | Refusal]:
    """Stop waiting. A request that was granted at the last moment is answered with that.

    Refusals: NoUserFree with the place that is kept; RequestNotFound when it is no more; RequestEnded.
    """
    opened = records.look_up(conn, [call.ask.key for call in calls])
    undos: list[Undo] = []
    for call in calls:
        row = opened.get(call.ask.key)
        if row is not None and records.reused(call.ask, row):  # another's place, or another's grant
            del opened[call.ask.key]
        elif row is not None and _is_unwanted(call, row):
            undos.append(Undo(call.ask.key))
            del opened[call.ask.key]
    if undos:  # all at once, or their users would not be locked in the order of their ids
        ending.undo(conn, undos)
    outcomes = _given(conn, opened)
    waiting = [row.id for key, row in opened.items() if key not in outcomes]
    conn.execute(AWAY, {"ids": waiting, "home": calls[0].home})
    positions = {row.id: row.position for row in conn.execute(POSITIONS, {"ids": waiting})}
    return [outcomes.get(call.ask.key) or _kept(call.ask, opened, positions) for call in calls]


def claim(conn: Connection, calls: Sequence[Claim]) -> list[bool]:
    """From now on no grant of these requests is taken back for want of a caller; whether the lease still lives.

    Two statements: the first may wait for one that takes a grant back, and the second sees what became of it.
    """
    conn.execute(CLAIM, as_arrays([call.key for call in calls]))
    living = locks.living(conn, [call.lease for call in calls])
    return [call.lease in living for call in calls]


def _given(conn: Connection, opened: dict[Key, Opened]) -> dict[Key, Granted | Refusal]:
    granted = {key: row.id for key, row in opened.items() if row.granted}
    records.claim(conn, granted.values())
    given = records.repeated(conn, granted.values())
    return {key: given[request] for key, request in granted.items()}


def _is_unwanted(call: Detach, row: Opened) -> bool:
    """Whether a request, or what it was granted, is to end with its call: nobody else has asked for it since."""
    ends = call.for_good or (call.gone and row.granted)
    return ends and row.home == call.home and not row.claimed


def _kept(ask: Ask, opened: Mapping[Key, Opened], positions: Mapping[int, int]) -> Refusal:
    if ask.key not in opened:
        return RequestNotFound(ask.request_id)
    return NoUserFree(ask.request_id, positions.get(opened[ask.key].id, 1), retry_after_seconds=1.0)


def _refused(conn: Connection, asks: Sequence[Ask], opened: dict[Key, Opened]) -> dict[Key, Granted | Refusal]:
    """New requests that cannot join: the line is full, or the farm could never satisfy them."""
    new = [ask for ask in asks if opened[ask.key].is_new]
    if new and conn.execute(WAITING).scalar_one() > LINE_MOST:
        return {ask.key: LineFull() for ask in new}
    refused: dict[Key, Granted | Refusal] = dict(matching.unsatisfiable(conn, new))
    limited = [ask for ask in new if ask.limited and ask.key not in refused]
    return refused | _over_limit(conn, limited, ids=[opened[ask.key].id for ask in new]) if limited else refused


def _over_limit(conn: Connection, asks: Sequence[Ask], *, ids: Sequence[int]) -> dict[Key, Granted | Refusal]:
    """Those for which there would be no room: a place in line that could lead to nothing would only block others."""
    room = quotas.measure(conn, {ask.principal for ask in asks}, waiting_too=True, but=ids)
    unique = {ask.key: ask for ask in asks}.values()
    return {ask.key: room.refusal(ask.principal) for ask in unique if not room.take(ask.principal, ask.count)}
