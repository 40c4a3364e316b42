"""How many locks a principal may hold at once. Keys without a limit never come by here and pay nothing.

The row of the key is locked by a statement of its own, and only the next one counts: it then has a snapshot in which
everything is seen that those who held the row before have granted. Rows are locked in one order: requests in line,
keys, users.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from domain import locks
from domain.errors import Refusal, TooManyLocks
from domain.locks import Acquire, Grant

LOCK_KEYS = """
SELECT name, locks_most FROM api_keys WHERE name = ANY (:names) AND revoked_at IS NULL ORDER BY id FOR NO KEY UPDATE
"""
HELD = text("""
SELECT lock_principal AS name, count(*) AS held FROM users
WHERE locktime IS NOT NULL AND lock_expires_at > (SELECT clock_timestamp()) AND lock_principal = ANY (:names)
GROUP BY lock_principal
""")
WAITED_FOR = text("""
SELECT principal AS name, sum(count) AS wanted FROM lock_requests
WHERE granted_at IS NULL AND principal = ANY (:names) AND id <> ALL (:but) GROUP BY principal
""")
# The users are locked in the order of their ids, before any statement that may leave some of them out.
LEASES = text("""
SELECT id, lease_id, lock_principal, last_lease_id, last_lease_principal FROM users
WHERE id = ANY (:ids) ORDER BY id FOR NO KEY UPDATE
""")
UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True)
class Room:
    """How many more locks each principal may hold. One whose key was revoked meanwhile has no room at all."""

    most: dict[str, int | None]
    left: dict[str, float]

    def take(self, principal: str, count: int) -> bool:
        """Whether there is room for so many, which then are taken off it."""
        if self.left.get(principal, 0) < count:
            return False
        self.left[principal] -= count
        return True

    def give_back(self, principal: str, count: int) -> None:
        self.left[principal] += count

    def refusal(self, principal: str) -> TooManyLocks:
        return TooManyLocks(self.most.get(principal) or 0)


def measure(
    conn: Connection,
    principals: Collection[str],
    *,
    waiting_too: bool = False,
    but: Collection[int] = (),
    skip_locked: bool = False,
) -> Room:
    """The room of these principals, theirs alone until the transaction ends.

    `waiting_too` counts what they wait for in line as well, save the requests `but`. `skip_locked` leaves out the
    principals whose locks are being counted by somebody else.
    """
    names = sorted(principals)
    rows = conn.execute(text(LOCK_KEYS + (" SKIP LOCKED" if skip_locked else "")), {"names": names})
    most: dict[str, int | None] = {row.name: row.locks_most for row in rows}
    left = {name: UNLIMITED if number is None else float(number) for name, number in most.items()}
    used = [(row.name, row.held) for row in conn.execute(HELD, {"names": names})]
    if waiting_too:
        used += [(row.name, row.wanted) for row in conn.execute(WAITED_FOR, {"names": names, "but": list(but)})]
    for name, number in used:
        if name in left:
            left[name] -= int(number)
    return Room(most, left)


def acquire(conn: Connection, requests: Sequence[Acquire]) -> list[Grant | Refusal]:
    """`locks.acquire` for principals with a limit; one outcome a request, in order.

    Within a batch the room that a refused request leaves is given to those behind it. Asking again for a lease that
    was granted before needs no room. Refusals: TooManyLocks, and those of `locks.acquire`.
    """
    room = measure(conn, {request.principal for request in requests})
    repeats = _repeats(conn, requests)
    outcomes: dict[int, Grant | Refusal] = {}
    while True:
        waiting = [n for n in range(len(requests)) if n not in outcomes]
        now = [n for n in waiting if n in repeats or room.take(requests[n].principal, 1)]
        if not now:
            break
        for n, outcome in zip(now, locks.acquire(conn, [requests[n] for n in now]), strict=True):
            outcomes[n] = outcome
            if n not in repeats and not (isinstance(outcome, Grant) and not outcome.again):
                room.give_back(requests[n].principal, 1)
    return [outcomes.get(n) or room.refusal(request.principal) for n, request in enumerate(requests)]


def _repeats(conn: Connection, requests: Sequence[Acquire]) -> set[int]:
    """Those that name a lease of their own which the user remembers: they are granted nothing new."""
    ids = [request.user_id for request in requests]
    known = set[tuple[object, object, object]]()
    for row in conn.execute(LEASES, {"ids": ids}):
        known.add((row.id, row.lease_id, row.lock_principal))
        known.add((row.id, row.last_lease_id, row.last_lease_principal))
    return {n for n, asked in enumerate(requests) if (asked.user_id, asked.lease_id, asked.principal) in known}
