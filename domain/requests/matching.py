"""Which users match a request, and how many."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, TextClause, text

from domain.errors import NoMatchingUser, Refusal
from domain.locks import reservations
from domain.requests import records
from domain.requests.records import Ask, Key

# The statements are made for each wish out of the conditions it has. One statement for all wishes would say
# `wish.env IS NULL OR user.env = wish.env`, of which the planner expects hardly a row: it would then sort all free
# users instead of reading the first few from the index. For the same reason `kept` hides in a CASE.
CONDITIONS = {
    "user_id": "u.id = :user_id",
    "project_id": "u.project_id = :project_id",
    "env": "u.env = :env",
    "domain": "u.domain = :domain",
    "labels": "u.labels @> CAST(:labels AS jsonb)",
    "projects": "u.project_id = ANY (CAST(:projects AS uuid[]))",
}
NOT_KEPT = f"CASE WHEN {reservations.kept('u')} THEN false ELSE true END"

# Counted without locks, and no further than needed: enough is enough.
MATCHING = "SELECT count(*) FROM (SELECT FROM users u WHERE u.status = 'active' AND {wish} LIMIT :total) m"
COUNT = f"""
WITH RECURSIVE {reservations.LINE}
SELECT ({MATCHING}) AS matching,
    (SELECT count(*) FROM (
        SELECT FROM users u WHERE {reservations.FREE} AND {{wish}} AND {NOT_KEPT} LIMIT :total) f) AS free,
    (SELECT count(*) FROM lock_requests q
        WHERE {reservations.WAITING} AND q.selector = :selector AND {reservations.ATTENDED}) AS waiting,
    (SELECT extract(epoch FROM u.available_at - clock_timestamp()) FROM users u
        WHERE u.status = 'active' AND u.available_at > (SELECT clock_timestamp()) AND {{wish}}
        ORDER BY u.available_at LIMIT 1)::float8 AS next_seconds
"""


def unsatisfiable(conn: Connection, asks: Sequence[Ask]) -> dict[Key, Refusal]:
    """Those that the farm could never satisfy, whatever its locks."""
    matching = {
        selector: int(conn.execute(*statement(MATCHING, wishes)).scalar_one())
        for selector, wishes in by_selector(asks).items()
    }
    return {
        ask.key: NoMatchingUser(ask.count, matching[ask.selector]) for ask in asks if matching[ask.selector] < ask.count
    }


def statement(template: str, asks: Sequence[Ask]) -> tuple[TextClause, dict[str, Any]]:
    """A statement for requests of one selector, with its parameters: as many users as all of them need together."""
    wish = {
        name: value for name, value in records.wish(asks[0]).items() if value not in (None, {}) and name in CONDITIONS
    }
    condition = " AND ".join(CONDITIONS[name] for name in wish) or "true"
    parameters = wish | {"selector": asks[0].selector, "total": sum(ask.count for ask in asks)}
    if "labels" in wish:
        parameters["labels"] = json.dumps(wish["labels"])
    clause = text(template.format(wish=condition))
    return clause, {name: value for name, value in parameters.items() if f":{name}" in clause.text}


def counts_of(conn: Connection, asks: Sequence[Ask]) -> list[Row[Any]]:
    found = {selector: conn.execute(*statement(COUNT, wishes)).one() for selector, wishes in by_selector(asks).items()}
    return [found[ask.selector] for ask in asks]


def by_selector(asks: Sequence[Ask]) -> dict[UUID, list[Ask]]:
    groups = dict[UUID, list[Ask]]()
    for ask in asks:
        groups.setdefault(ask.selector, []).append(ask)
    return groups
