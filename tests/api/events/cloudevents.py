"""What an event must look like: as its schema says, with no field that the schema does not declare."""

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from sqlalchemy import Engine

from domain.events import contracts, feed, outbox
from domain.events.cursors import Cursor

VALIDATORS = {
    name: Draft202012Validator(contracts.strict(schema), format_checker=FormatChecker())
    for name, schema in contracts.schemas().items()
}


def faults(event: dict[str, Any]) -> list[str]:
    """What is wrong with the event; nothing when it keeps the promise."""
    validator = VALIDATORS.get(event.get("type", ""))
    if validator is None:
        return [f"no such type: {event.get('type')}"]
    return [error.message for error in validator.iter_errors(event)] or _contradictions(event)


def faults_of_all(engine: Engine) -> list[str]:
    """What is wrong with any event of that database, numbered or not yet."""
    with engine.begin() as conn:
        while outbox.sequence(conn):
            pass
    return [f"{event['cursor']} {event['type']}: {fault}" for event in _all(engine) for fault in faults(event)]


def _all(engine: Engine) -> Iterator[dict[str, Any]]:
    place = Cursor(0, 0)
    while True:
        with engine.begin() as conn:
            page = feed.following(conn, after=place, limit=1_000)
        if not page:
            return
        yield from map(feed.cloudevent, page)
        place = page[-1].cursor


def _contradictions(event: dict[str, Any]) -> list[str]:
    """Where two of its parts say different things."""
    kind, _, entity = event["subject"].partition("/")
    said_twice = {
        "subject": (entity, event["data"][f"{kind.removesuffix('s')}_id"]),
        "partitionkey": (event["partitionkey"], entity),
        "cursor": (event["cursor"], f"{event['epoch']}-{int(event['sequence'])}"),
    }
    return [f"{name}: {one} is not {other}" for name, (one, other) in said_twice.items() if one != other]
