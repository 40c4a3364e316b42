"""What a database knows of the changes made in it, and how it is brought to rest between stretches of load."""

import time
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Engine, text

from benchmarks.failures import Unmeasured

REST_SECONDS = 120.0
POLL_SECONDS = 0.05
IDS = text("SELECT id FROM users ORDER BY id")
CHANGES = text("SELECT sum(lock_version) FROM users")
UNTOLD = text("SELECT (SELECT count(*) FROM outbox) + (SELECT last_seq - published_seq FROM relay_state)")
FREE = text("""
UPDATE users SET locktime = NULL, lock_expires_at = NULL, lease_id = NULL, lock_owner = NULL, lock_principal = NULL,
    lock_metadata = NULL, available_at = now()
WHERE locktime IS NOT NULL
""")


def _none() -> int:
    return 0


class Ledger:
    """Of a database with Botfarm's tables and a worker; `behind` counts what its consumer has not dealt with."""

    def __init__(self, engine: Engine, *, behind: Callable[[], int] = _none) -> None:
        self._engine = engine
        self._behind = behind

    def ids(self) -> list[UUID]:
        with self._engine.begin() as conn:
            return list(conn.execute(IDS).scalars())

    def changes(self) -> int:
        """How many times locks were taken and given back; calls that hung up and are still served count later."""
        with self._engine.begin() as conn:
            return int(conn.execute(CHANGES).scalar_one())

    def settle(self) -> int:
        """Wait until every event is on the stream and read, then free all users; how many were not at first.

        So no stretch pays for the one before. Raises Unmeasured when it takes too long.
        """
        first = rest = self._rest()
        deadline = time.monotonic() + REST_SECONDS
        while rest or not self._still():
            if time.monotonic() > deadline:
                raise Unmeasured(f"{rest:,} events were still on their way after {REST_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
            rest = self._rest()
        with self._engine.begin() as conn:
            conn.execute(FREE)
        return first

    def _rest(self) -> int:
        with self._engine.begin() as conn:
            return int(conn.execute(UNTOLD).scalar_one()) + self._behind()

    def _still(self) -> bool:
        """Whether nobody changes anything any more: calls that have hung up may still be served."""
        before = self.changes()
        time.sleep(4 * POLL_SECONDS)
        return before == self.changes()
