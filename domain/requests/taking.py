"""Taking users at once, without waiting in line and without overtaking it."""

import random
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from domain.errors import NoMatchingUser, NoUserFree, Refusal
from domain.locks import quotas, reservations
from domain.postgres import event_loop
from domain.requests import records
from domain.requests.granting import Gift, grant
from domain.requests.matching import NOT_KEPT, by_selector, counts_of, statement
from domain.requests.records import Ask, Granted, Key, Opened, forget, is_nothing

TRIES = 3
RETRY_PAUSE_SECONDS = 0.03  # at most; as long as the transaction of those who were quicker may take
RETRY_MOST_SECONDS = 60.0

# The rows are claimed as they are found, in the order in which they became free, past those that others hold.
CLAIM = f"""
WITH RECURSIVE {reservations.LINE}
SELECT u.id FROM users u
WHERE {reservations.FREE} AND {{wish}} AND {NOT_KEPT}
ORDER BY u.available_at LIMIT :total FOR NO KEY UPDATE OF u SKIP LOCKED
"""


def take(conn: Connection, asks: Sequence[Ask]) -> list[Granted | Refusal]:
    """Give each request its users, all or none, those first that became free first; one outcome each, in order.

    A request that was granted before is answered with what it still has. Nothing is kept of one that is refused, but
    a place in line that it had.

    Refusals: NoUserFree; NoMatchingUser; TooManyLocks; RequestEnded; RequestIdReused.
    """
    opened = records.open_all(conn, asks, home=None)
    outcomes = _known(conn, asks, opened)
    wanting = list({ask.key: ask for ask in asks if ask.key not in outcomes}.values())
    if wanting:
        outcomes |= _serve_within_limits(conn, wanting, opened)
    forget(conn, [opened[key].id for key, outcome in outcomes.items() if is_nothing(outcome, opened[key])])
    return [_each(ask, outcomes[ask.key], opened[ask.key]) for ask in asks]


def _serve_within_limits(
    conn: Connection, asks: Sequence[Ask], opened: Mapping[Key, Opened]
) -> dict[Key, Granted | Refusal]:
    """Serve those whose principals have room for more locks; what one leaves is there for those behind it."""
    limited = {ask.principal for ask in asks if ask.limited}
    if not limited:
        return _serve(conn, asks, opened)
    room = quotas.measure(conn, limited)
    outcomes: dict[Key, Granted | Refusal] = {}
    while True:
        waiting = [ask for ask in asks if ask.key not in outcomes]
        now = [ask for ask in waiting if not ask.limited or room.take(ask.principal, ask.count)]
        if not now:
            return outcomes | {ask.key: room.refusal(ask.principal) for ask in waiting}
        outcomes |= _serve(conn, now, opened)
        for ask in now:
            if ask.limited and isinstance(outcomes[ask.key], Refusal):
                room.give_back(ask.principal, ask.count)


def _serve(conn: Connection, asks: Sequence[Ask], opened: Mapping[Key, Opened]) -> dict[Key, Granted | Refusal]:
    """Claim until all have enough, or a count confirms that there is not enough, three times at most.

    Between two tries the rows that were claimed are let go, or those who have too few would hold them from each other.
    """
    conn.exec_driver_sql("SAVEPOINT claim")
    refused: dict[Key, Refusal] = {}
    for attempt in range(TRIES):
        found = _claim(conn, asks)
        gifts, short = _deal(asks, found, opened)
        counts = dict(zip([ask.key for ask in short], counts_of(conn, short), strict=True))
        refused = {ask.key: _refusal(ask, counts[ask.key]) for ask in short}
        if all(counts[ask.key].free < ask.count for ask in short):
            break
        if attempt < TRIES - 1:
            event_loop.pause(random.uniform(0, RETRY_PAUSE_SECONDS))  # noqa: S311  -- to get out of step with others
            conn.exec_driver_sql("ROLLBACK TO SAVEPOINT claim")
    granted = {handover.key: handover.granted for handover in grant(conn, gifts, home=None, direct=True)}
    missed = {ask.key: NoUserFree(ask.request_id, 1, 1.0, counted=False) for ask in asks}
    return {**missed, **refused, **granted}


def _known(conn: Connection, asks: Sequence[Ask], opened: Mapping[Key, Opened]) -> dict[Key, Granted | Refusal]:
    """The outcomes of requests that are no first tries: granted before, or in line with a call that waits.

    One that is in line but that nobody waits for just now is tried again.
    """
    old = {ask.key: opened[ask.key] for ask in asks if not opened[ask.key].is_new}
    granted = records.repeated(conn, [row.id for row in old.values() if row.granted])
    records.claim(conn, granted.keys())
    outcomes: dict[Key, Granted | Refusal] = {}
    waiting = [ask for ask in asks if ask.key in old and not old[ask.key].granted and not _is_idle(ask, old[ask.key])]
    for key, row in old.items():
        if row.granted:
            outcomes[key] = granted[row.id]
    counted = zip(waiting, counts_of(conn, waiting), strict=True)
    return outcomes | {ask.key: _refusal(ask, found) for ask, found in counted}


def _is_idle(ask: Ask, row: Opened) -> bool:
    return row.home is None and records.reused(ask, row) is None


def _claim(conn: Connection, asks: Sequence[Ask]) -> dict[UUID, Sequence[UUID]]:
    """Candidates by selector, their rows locked."""
    return {
        selector: conn.execute(*statement(CLAIM, wishes)).scalars().all()
        for selector, wishes in by_selector(asks).items()
    }


def _deal(
    asks: Sequence[Ask], found: Mapping[UUID, Sequence[UUID]], opened: Mapping[Key, Opened]
) -> tuple[list[Gift], list[Ask]]:
    """Deal the candidates out in the order of the requests; also those for whom there were too few."""
    taken = set[UUID]()
    gifts: list[Gift] = []
    short: list[Ask] = []
    for ask in asks:
        mine = [user_id for user_id in found[ask.selector] if user_id not in taken][: ask.count]
        if _enough(mine, ask):
            taken.update(mine)
            single = ask.user_id is not None
            gifts += [Gift(opened[ask.key].id, ask.request_id, user_id, single) for user_id in mine]
        else:
            short.append(ask)
    return gifts, short


def _enough(mine: Sequence[UUID], ask: Ask) -> bool:
    return len(mine) == ask.count


def _refusal(ask: Ask, found: Row[Any]) -> Refusal:
    if found.matching < ask.count:
        return NoMatchingUser(ask.count, found.matching)
    seconds = min(RETRY_MOST_SECONDS, found.next_seconds or 1.0)
    return NoUserFree(ask.request_id, found.waiting + 1, seconds, counted=found.free < ask.count)


def _each(ask: Ask, outcome: Granted | Refusal, row: Opened) -> Granted | Refusal:
    """An outcome is shared by all calls of one key, save by one that asks for something else under it."""
    return records.reused(ask, row) or outcome
