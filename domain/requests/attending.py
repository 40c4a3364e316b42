"""Standing in line: joining it, being away, leaving it, and taking what was given."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from domain import lines, locks
from domain.errors import LineFull, NoMatchingUser, NoUserFree, Refusal, RequestNotFound
from domain.locks import Release
from domain.requests import asking, taking
from domain.requests.asking import Ask, Granted, Key, Opened, Place
from domain.requests.granting import Handover

LINE_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Enqueue:
    """A call at `home` that is willing to wait."""

    ask: Ask
    home: UUID


@dataclass(frozen=True, slots=True)
class Detach:
    """The call of this request at `home` has stopped waiting; its place is kept for a while."""

    ask: Ask
    home: UUID


@dataclass(frozen=True, slots=True)
class Cancel:
    """The request is wanted no more, and what it was given neither."""

    key: Key


ATTEND = text("""
UPDATE lock_requests SET home = :home, seen_at = clock_timestamp()
WHERE id = ANY (:ids) AND granted_at IS NULL
""")
CONFIRM_IDS = text("""
UPDATE lock_requests SET confirmed_at = clock_timestamp()
WHERE id = ANY (:ids) AND granted_at IS NOT NULL AND confirmed_at IS NULL
""")
CONFIRM = text("""
UPDATE lock_requests q SET confirmed_at = clock_timestamp()
WHERE q.home = :home AND q.granted_at IS NOT NULL AND q.confirmed_at IS NULL
RETURNING q.id, q.principal, q.request_id
""")
AWAY = text("""
UPDATE lock_requests SET home = NULL, seen_at = clock_timestamp()
WHERE id = ANY (:ids) AND granted_at IS NULL AND home = :home
""")
REMOVE = text("""
DELETE FROM lock_requests q USING unnest(CAST(:principals AS text[]), CAST(:request_ids AS uuid[]))
    AS k (principal, request_id)
WHERE q.principal = k.principal AND q.request_id = k.request_id
RETURNING q.principal, q.request_id, q.granted_at IS NOT NULL AS granted, q.users, q.leases
""")
BEAT = text("""
INSERT INTO homes (id, seen_at) VALUES (:home, clock_timestamp())
ON CONFLICT (id) DO UPDATE SET seen_at = EXCLUDED.seen_at
""")
LEAVE = text("""
WITH gone AS (DELETE FROM homes WHERE id = :home)
UPDATE lock_requests SET home = NULL, seen_at = clock_timestamp() WHERE home = :home AND granted_at IS NULL
""")
POSITIONS = text(f"""
WITH {lines.ALIVE}
SELECT w.id, 1 + count(q.id) AS position
FROM lock_requests w LEFT JOIN lock_requests q
    ON q.granted_at IS NULL AND q.selector = w.selector AND {lines.ATTENDED}
    AND (q.priority, -q.id) > (w.priority, -w.id)
WHERE w.id = ANY (:ids) GROUP BY w.id
""")


def enqueue(conn: Connection, calls: Sequence[Enqueue]) -> list[Place | Granted | Refusal]:
    """Put each call's request in line, or find it there; a request that was granted is answered with what it has.

    Refusals: LineFull; NoMatchingUser; RequestEnded; RequestIdReused.
    """
    asks = [call.ask for call in calls]
    opened = asking.open_all(conn, asks, home=calls[0].home)
    outcomes = _refused(conn, asks, opened) | _given(conn, opened)
    conn.execute(ATTEND, {"home": calls[0].home, "ids": [row.id for key, row in opened.items() if key not in outcomes]})
    taking.forget(
        conn, [opened[key].id for key, refusal in outcomes.items() if taking.is_nothing(refusal, opened[key])]
    )
    return [
        asking.reused(ask, opened[ask.key]) or outcomes.get(ask.key) or Place(opened[ask.key].id, ask.request_id)
        for ask in asks
    ]


def detach(conn: Connection, calls: Sequence[Detach]) -> list[Granted | Refusal]:
    """Stop waiting. A request that was granted at the last moment is answered with that.

    Refusals: NoUserFree with the place that is kept; RequestNotFound when it was cancelled; RequestEnded.
    """
    opened = asking.look_up(conn, [call.ask.key for call in calls])
    outcomes: dict[Key, Granted | Refusal] = dict(_given(conn, opened))
    waiting = [row.id for key, row in opened.items() if key not in outcomes]
    conn.execute(AWAY, {"ids": waiting, "home": calls[0].home})
    positions = {row.id: row.position for row in conn.execute(POSITIONS, {"ids": waiting})}
    for call in calls:
        row = opened.get(call.ask.key)
        request_id = call.ask.request_id
        kept = NoUserFree(request_id, positions.get(row.id, 1), 1.0) if row else RequestNotFound(request_id)
        outcomes.setdefault(call.ask.key, kept)
    return [outcomes[call.ask.key] for call in calls]


def cancel(conn: Connection, calls: Sequence[Cancel]) -> list[bool | Refusal]:
    """Take each request out; what it was given is released, reason `unclaimed`. Whether there was any lease to end.

    Refusals: RequestNotFound.
    """
    keys = sorted({call.key for call in calls})
    rows = conn.execute(
        REMOVE, {"principals": [principal for principal, _ in keys], "request_ids": [str(key) for _, key in keys]}
    ).all()
    removed = {(row.principal, row.request_id): row for row in rows}
    releases = [
        Release(user_id, row.principal, lease_id, reason="unclaimed")
        for row in rows
        if row.granted
        for user_id, lease_id in zip(row.users, row.leases, strict=True)
    ]
    if releases:
        locks.release(conn, releases)
    return [bool(removed[call.key].granted) if call.key in removed else RequestNotFound(call.key[1]) for call in calls]


def confirm(conn: Connection, *, home: UUID) -> list[Handover]:
    """Take for the callers at `home` what passes of other processes have granted them."""
    rows = conn.execute(CONFIRM, {"home": home}).all()
    given = asking.repeated(conn, [row.id for row in rows])
    return [
        Handover((row.principal, row.request_id), home, granted)
        for row in rows
        if isinstance(granted := given[row.id], Granted)
    ]


def beat(conn: Connection, *, home: UUID) -> None:
    """One sign of life for all calls that wait at this process: a heartbeat a request would be in the line's way."""
    conn.execute(BEAT, {"home": home})


def leave(conn: Connection, *, home: UUID) -> None:
    """The process ends; the places of its calls are kept for a while."""
    conn.execute(LEAVE, {"home": home})


def _given(conn: Connection, opened: dict[Key, Opened]) -> dict[Key, Granted | Refusal]:
    granted = {key: row.id for key, row in opened.items() if row.granted}
    if granted:
        conn.execute(CONFIRM_IDS, {"ids": list(granted.values())})
    given = asking.repeated(conn, granted.values())
    return {key: given[request] for key, request in granted.items()}


def _refused(conn: Connection, asks: Sequence[Ask], opened: dict[Key, Opened]) -> dict[Key, Granted | Refusal]:
    """New requests that cannot join: the line is full, or the farm could never satisfy them."""
    new = [ask for ask in asks if opened[ask.key].is_new]
    waiting = conn.execute(text("SELECT count(*) FROM lock_requests WHERE granted_at IS NULL")).scalar_one()
    if new and waiting > LINE_MOST:
        return {ask.key: LineFull() for ask in new}
    refusals = taking.refusals(conn, new)
    return {key: refusal for key, refusal in refusals.items() if isinstance(refusal, NoMatchingUser)}
