"""The scheduling of webhooks: who has something to be sent is claimed and handed on."""

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import Engine

from domain import webhooks
from domain.events import epochs
from domain.webhooks import Claim, Stretch
from worker.webhooks.feed_tip import Tip

REMEMBERED_MOST = 10_000
QUIET_SECONDS = 0.25  # without a new event, so often for retries whose time has come and whatever people have done


class Scheduling:
    """A duty for a loop. It sends nothing itself, so no receiver can hold it up; without Redis it waits for Redis."""

    def __init__(self, engine: Engine, tip: Tip, *, enqueue: Callable[[Claim], None]) -> None:
        self._engine = engine
        self._tip = tip
        self._enqueue = enqueue
        self._seq, self._look_at = -1, 0.0
        self._rest_until = 0.0
        self._known = dict[UUID, Stretch]()  # what need not be looked at again; to forget it costs one more look

    def __call__(self) -> bool:
        """One look, and none once this process stops.

        Never asks for another at once: what was claimed now is not free then.
        """
        if self._tip.stopping or time.monotonic() < self._rest_until:
            return False
        with self._engine.begin() as conn:
            seq = epochs.read(conn).last_seq
            if seq == self._seq and time.monotonic() < self._look_at:
                return False
            if not webhooks.exist(conn):  # most farms have none, and a busy one would have it look all the time
                self._rest_until = time.monotonic() + QUIET_SECONDS
                return False
            due = webhooks.due(conn, known=list(self._known.values()))
            for stretch in due.vain:
                if stretch.long:
                    webhooks.skip(conn, stretch=stretch)
        self._remember(due.vain)
        self._seq, self._look_at = seq, time.monotonic() + (0 if due.wanted else QUIET_SECONDS)
        self._tip.tell(seq=seq, crowded=due.crowded)
        if due.wanted:
            with self._engine.begin() as conn:
                claims = webhooks.claim(conn, wanted=due.wanted)
            for claim in claims:
                self._enqueue(claim)
        return False

    def _remember(self, vain: Sequence[Stretch]) -> None:
        if len(self._known) > REMEMBERED_MOST:
            self._known.clear()  # webhooks that were deleted leave theirs behind
        self._known |= {stretch.webhook_id: stretch for stretch in vain}
