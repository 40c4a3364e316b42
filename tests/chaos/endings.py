"""When all is over: waiting for the last witness, and the verdict."""

import os
import time
from collections.abc import Sequence

import redis
from sqlalchemy import Engine

from domain.events import epochs
from tests.chaos import accounts, ledger
from tests.chaos.ledger import Entry
from tests.chaos.witnesses import Witness

SECONDS = float(os.environ.get("BOTFARM_CHAOS_SECONDS", "8"))  # how long the chaos lasts
SETTLE_SECONDS = 30.0
PATIENCE_SECONDS = 120 + 2 * SECONDS  # a test that takes longer hangs


def settle(engine: Engine, client: redis.Redis, key: str, witnesses: Sequence[Witness]) -> None:
    """Wait until everything is numbered, on the stream and read, and nothing can change any more; but not for ever.

    A lock whose release was rolled back is a change still to come: the sweep expires it, late on a busy machine, and
    would do so between our readings.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        if accounts.held(engine) == 0 and _told(engine, client, key, witnesses):
            return
        time.sleep(0.2)


def verdict(engine: Engine, entries: Sequence[Entry]) -> ledger.Findings:
    """The entries against all that the database knows."""
    return ledger.audit(
        accounts.committed(engine),
        entries,
        versions=accounts.versions(engine),
        numbered=accounts.numbered(engine),
    )


def epoch(engine: Engine) -> int:
    with engine.begin() as conn:
        return epochs.read(conn).epoch


def _told(engine: Engine, client: redis.Redis, key: str, witnesses: Sequence[Witness]) -> bool:
    with engine.begin() as conn:
        state = epochs.read(conn)
    last = f"{state.epoch}-{state.last_seq}"
    newest: list[tuple[str, object]] = client.xrevrange(key, count=1)  # type: ignore[assignment]
    return (
        state.last_seq == len(accounts.committed(engine))
        and bool(newest)
        and newest[0][0] == last
        and all(witness.cursor == last for witness in witnesses)
    )
