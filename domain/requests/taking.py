"""Taking users at once, without waiting in line and without overtaking it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from domain import lines
from domain.errors import NoMatchingUser, NoUserFree, Refusal
from domain.requests import asking
from domain.requests.asking import Ask, Granted, Key, Opened
from domain.requests.granting import Gift, grant

TRIES = 3
RETRY_MOST_SECONDS = 60.0

_WANTS = """wants AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(CAST(:wants AS jsonb)) AS w (
        selector uuid, user_id uuid, project_id uuid, env text, domain text, labels jsonb, projects uuid[], total int
    )
)"""
_LINE = f"{lines.ALIVE}, {lines.SELECTORS}, {lines.HEADS}"

# The rows are claimed as they are found, in the order in which they became free, past those that others hold.
CLAIM = text(f"""
WITH RECURSIVE {_WANTS}, {_LINE}
SELECT w.selector, c.id FROM wants w CROSS JOIN LATERAL (
    SELECT u.id FROM users u
    WHERE {lines.FREE} AND {lines.matches("u", "w")} AND NOT {lines.kept("u")}
    ORDER BY u.available_at, u.id LIMIT w.total FOR NO KEY UPDATE OF u SKIP LOCKED
) c
""")

_MATCHING = f"""(SELECT count(*) FROM (
        SELECT FROM users u WHERE u.status = 'active' AND {lines.matches("u", "w")} LIMIT w.total) m) AS matching"""
MATCHING = text(f"WITH {_WANTS} SELECT w.selector, {_MATCHING} FROM wants w")

# Counted without locks, and no further than needed: enough is enough.
COUNT = text(f"""
WITH RECURSIVE {_WANTS}, {_LINE}
SELECT w.selector, {_MATCHING},
    (SELECT count(*) FROM (
        SELECT FROM users u WHERE {lines.FREE} AND {lines.matches("u", "w")} AND NOT {lines.kept("u")}
        LIMIT w.total) f) AS free,
    (SELECT count(*) FROM lock_requests q
        WHERE {lines.WAITING} AND q.selector = w.selector AND {lines.ATTENDED}) AS waiting,
    (SELECT extract(epoch FROM u.available_at - clock_timestamp()) FROM users u
        WHERE u.status = 'active' AND u.available_at > (SELECT clock_timestamp()) AND {lines.matches("u", "w")}
        ORDER BY u.available_at LIMIT 1)::float8 AS next_seconds
FROM wants w
""")


def take(conn: Connection, asks: Sequence[Ask]) -> list[Granted | Refusal]:
    """Give each request its users, all or none, those first that became free first; one outcome each, in order.

    A request that was granted before is answered with what it still has. Nothing is kept of one that is refused.

    Refusals: NoUserFree; NoMatchingUser; RequestEnded; RequestIdReused.
    """
    opened = asking.open_all(conn, asks, home=None)
    outcomes: dict[Key, Granted | Refusal] = _known(conn, asks, opened)
    wanting = list({ask.key: ask for ask in asks if ask.key not in outcomes}.values())
    for _ in range(TRIES):
        if not wanting:
            break
        outcomes |= _claim(conn, wanting, opened)
        refused = _refusals(conn, [ask for ask in wanting if ask.key not in outcomes])
        wanting = [ask for ask in wanting if ask.key not in outcomes and ask.key not in refused]
        outcomes |= refused
    outcomes |= {ask.key: NoUserFree(ask.request_id, 1, 1.0) for ask in wanting}
    forget(conn, [opened[key].id for key, outcome in outcomes.items() if is_nothing(outcome, opened[key])])
    return [_each(ask, outcomes[ask.key], opened[ask.key]) for ask in asks]


def unsatisfiable(conn: Connection, asks: Sequence[Ask]) -> dict[Key, Refusal]:
    """Those that the farm could never satisfy, whatever its locks."""
    rows = conn.execute(MATCHING, {"wants": _wants(asks)}) if asks else ()
    matching = {row.selector: row.matching for row in rows}
    return {
        ask.key: NoMatchingUser(ask.count, matching[ask.selector]) for ask in asks if matching[ask.selector] < ask.count
    }


def _known(conn: Connection, asks: Sequence[Ask], opened: Mapping[Key, Opened]) -> dict[Key, Granted | Refusal]:
    """The outcomes of requests that are no first tries: granted before, or waiting in line elsewhere."""
    old = {ask.key: opened[ask.key] for ask in asks if not opened[ask.key].is_new}
    granted = asking.repeated(conn, [row.id for row in old.values() if row.granted])
    asking.claim(conn, granted.keys())
    outcomes: dict[Key, Granted | Refusal] = {}
    waiting = [ask for ask in asks if ask.key in old and not old[ask.key].granted]
    for key, row in old.items():
        if row.granted:
            outcomes[key] = granted[row.id]
    counted = zip(waiting, _counts(conn, waiting), strict=True)
    return outcomes | {ask.key: _refusal(ask, found) for ask, found in counted}


def _claim(conn: Connection, asks: Sequence[Ask], opened: Mapping[Key, Opened]) -> dict[Key, Granted]:
    """Claim candidates for all, deal them out in order, and grant what is complete."""
    found = dict[UUID, list[UUID]]()
    for row in conn.execute(CLAIM, {"wants": _wants(asks)}):
        found.setdefault(row.selector, []).append(row.id)
    taken = set[UUID]()
    gifts: list[Gift] = []
    for ask in asks:
        mine = [user_id for user_id in found.get(ask.selector, ()) if user_id not in taken][: ask.count]
        if _enough(mine, ask):
            taken.update(mine)
            single = ask.user_id is not None
            gifts += [Gift(opened[ask.key].id, ask.request_id, user_id, single) for user_id in mine]
    return {handover.key: handover.granted for handover in grant(conn, gifts, home=None, direct=True)}


def _enough(mine: Sequence[UUID], ask: Ask) -> bool:
    return len(mine) == ask.count


def _refusals(conn: Connection, asks: Sequence[Ask]) -> dict[Key, Refusal]:
    """Refuse those for whom a count without locks confirms it; the others only met somebody at work and try again."""
    counts = zip(asks, _counts(conn, asks), strict=True)
    return {ask.key: _refusal(ask, found) for ask, found in counts if found.free < ask.count}


def _counts(conn: Connection, asks: Sequence[Ask]) -> list[Row[Any]]:
    rows = conn.execute(COUNT, {"wants": _wants(asks)}) if asks else ()
    found = {row.selector: row for row in rows}
    return [found[ask.selector] for ask in asks]


def _refusal(ask: Ask, found: Row[Any]) -> Refusal:
    if found.matching < ask.count:
        return NoMatchingUser(ask.count, found.matching)
    seconds = min(RETRY_MOST_SECONDS, found.next_seconds or 1.0)
    return NoUserFree(ask.request_id, found.waiting + 1, seconds)


def _wants(asks: Sequence[Ask]) -> str:
    """One want a selector, with as many users as all its requests need together."""
    wants = dict[UUID, dict[str, Any]]()
    for ask in asks:
        want = wants.setdefault(ask.selector, {**asking.wish(ask), "total": 0})
        want["total"] += ask.count
    return json.dumps(list(wants.values()))


def forget(conn: Connection, ids: Sequence[int]) -> None:
    if ids:
        conn.execute(text("DELETE FROM lock_requests WHERE id = ANY (:ids)"), {"ids": ids})


def is_nothing(outcome: Granted | Refusal, row: Opened) -> bool:
    return row.is_new and isinstance(outcome, Refusal)


def _each(ask: Ask, outcome: Granted | Refusal, row: Opened) -> Granted | Refusal:
    """An outcome is shared by all calls of one key, save by one that asks for something else under it."""
    return asking.reused(ask, row) or outcome
