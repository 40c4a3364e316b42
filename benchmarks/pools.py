"""Overlapping pools: threads that take sets of 1 to 10 users of one pool, all or none, as fast as they can.

    python -m benchmarks.pools --database-url URL [--threads 64] [--users 200] [--seconds 30]

Checked while it runs: no user is in two sets, no set is partial. Printed: sets a second, the refusals that were false
(in the transaction that was refused, a plain count still finds enough free users), and the deadlocks Postgres counted.
"""

import argparse
import random
import threading
import time
import uuid
from collections import Counter
from datetime import timedelta

from sqlalchemy import Engine, text

from benchmarks.farms import fill, new_database
from domain import locks, requests
from domain.errors import NoUserFree
from domain.locks import Release
from domain.requests import Ask, Granted

TTL = timedelta(minutes=10)
FREE = text("SELECT count(*) FROM users WHERE status = 'active' AND available_at <= clock_timestamp()")
DEADLOCKS = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")


class Ledger:
    """Which users are taken, as the takers know it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken: set[uuid.UUID] = set()
        self.counts: Counter[str] = Counter()

    def refuse(self, *, falsely: bool) -> None:
        with self._guard:
            self.counts["refused"] += 1
            self.counts["false refusals"] += falsely

    def note(self, got: list[uuid.UUID], *, count: int) -> None:
        with self._guard:
            self.counts["sets"] += 1
            self.counts["partial sets"] += len(got) != count
            self.counts["users in two sets"] += len(self._taken & set(got))
            self._taken |= set(got)

    def give_back(self, users: list[uuid.UUID]) -> None:
        with self._guard:
            self._taken -= set(users)


def run(engine: Engine, *, threads: int, seconds: float) -> Counter[str]:
    """What was counted, the deadlocks of this database among it."""
    ledger = Ledger()
    stop_at = time.monotonic() + seconds
    workers = [threading.Thread(target=_work, args=(engine, ledger, n, stop_at)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with engine.connect() as conn:
        ledger.counts["deadlocks"] = int(conn.execute(DEADLOCKS).scalar_one())
    return ledger.counts


def _work(engine: Engine, ledger: Ledger, number: int, stop_at: float) -> None:
    dice = random.Random(number)  # noqa: S311  -- only for load
    while time.monotonic() < stop_at:
        count = dice.randint(1, 10)
        ask = Ask(uuid.uuid4(), f"thread-{number}", "bench", TTL, count)
        with engine.begin() as conn:
            (outcome,) = requests.take(conn, [ask])
            free = int(conn.execute(FREE).scalar_one()) if isinstance(outcome, NoUserFree) else 0
        if isinstance(outcome, NoUserFree):
            ledger.refuse(falsely=free >= count)
            continue
        assert isinstance(outcome, Granted), outcome
        got = [grant.user.id for grant in outcome.grants]
        ledger.note(got, count=count)
        time.sleep(dice.uniform(0, 0.05))
        ledger.give_back(got)
        with engine.begin() as conn:
            locks.release(conn, [Release(user_id, ask.principal, ask.lease_for(user_id)) for user_id in got])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    with new_database(options.database_url, pool_size=options.threads) as engine:
        fill(engine, count=options.users, locked_percent=0)
        counts = run(engine, threads=options.threads, seconds=options.seconds)
    calls = counts["sets"] + counts["refused"]
    print(  # noqa: T201
        f"{options.threads} threads on {options.users} users: {counts['sets'] / options.seconds:.0f} sets/s, "
        f"{counts['refused']} of {calls} calls refused, {counts['false refusals']} falsely "
        f"({100 * counts['false refusals'] / calls:.2f} %), partial sets {counts['partial sets']}, "
        f"users in two sets {counts['users in two sets']}, deadlocks {counts['deadlocks']}"
    )


if __name__ == "__main__":
    main()
