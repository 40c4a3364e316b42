"""The scheduling of webhooks: who has something to be sent is claimed and handed on."""

from collections.abc import Callable

from sqlalchemy import Engine

from domain import epochs, webhooks
from domain.webhooks import Claim
from worker.deliveries import Tip


class Scheduling:
    """A duty for a loop. It sends nothing itself, so no receiver can hold it up; without Redis it waits for Redis."""

    def __init__(self, engine: Engine, tip: Tip, *, enqueue: Callable[[Claim], None]) -> None:
        self._engine = engine
        self._tip = tip
        self._enqueue = enqueue

    def __call__(self) -> bool:
        """One look. Never asks for another at once: what was claimed now is not free then."""
        with self._engine.begin() as conn:
            seq = epochs.read(conn).last_seq
            due = webhooks.due(conn)
            for stretch in due.skips:
                webhooks.skip(conn, stretch=stretch)
        self._tip.tell(seq=seq, crowded=due.crowded)
        if due.wanted:
            with self._engine.begin() as conn:
                claims = webhooks.claim(conn, wanted=due.wanted)
            for claim in claims:
                self._enqueue(claim)
        return False
