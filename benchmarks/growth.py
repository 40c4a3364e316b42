"""Growth: pool acquire on a million users of which 99 % are locked, and the tables after many lock cycles.

python -m benchmarks.growth --database-url URL [--users 1000000] [--cycles 300000] [--cycle-users 100000]
"""

import argparse
import random
import statistics
import time
import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text

from benchmarks.farms import fill, new_database
from domain import locks, outbox, requests
from domain.locks import Acquire, Release
from domain.requests import Ask, Granted, taking

TTL = timedelta(minutes=10)
BATCH = 50
SIZES = text("""
SELECT pg_relation_size('users') AS heap, pg_indexes_size('users') AS indexes,
    (SELECT coalesce(100.0 * n_tup_hot_upd / nullif(n_tup_upd, 0), 0) FROM pg_stat_user_tables
     WHERE relname = 'users') AS hot_percent
""")


def pool_times(engine: Engine, *, rounds: int) -> list[float]:
    """Seconds of each pool acquire of one user; the release after it is not counted."""
    times = []
    for _ in range(rounds):
        ask = Ask(uuid.uuid4(), "bench", "bench", TTL, env="stage")
        started = time.perf_counter()
        with engine.begin() as conn:
            (outcome,) = requests.take(conn, [ask])
        times.append(time.perf_counter() - started)
        assert isinstance(outcome, Granted), outcome
        (grant,) = outcome.grants
        with engine.begin() as conn:
            locks.release(conn, [Release(grant.user.id, "bench", grant.lease_id)])
    return times


def plan(conn: Connection) -> list[str]:
    """The plan of the statement that claims candidates."""
    clause, parameters = taking.statement(taking.CLAIM, [Ask(uuid.uuid4(), "bench", "bench", TTL, env="stage")])
    return [row[0] for row in conn.execute(text(f"EXPLAIN {clause.text}"), parameters)]


def cycle(engine: Engine, *, cycles: int, report: int = 10) -> list[Any]:
    """Acquire and release users at random, in batches, with the outbox drained; the sizes after each tenth."""
    with engine.begin() as conn:
        users = list(conn.execute(text("SELECT id FROM users")).scalars())
    sizes = []
    for part in range(report):
        for _ in range(cycles // report // BATCH):
            _one_batch(engine, random.sample(users, BATCH))
        with engine.begin() as conn:
            sizes.append(conn.execute(SIZES).one())
        print(f"{(part + 1) * cycles // report:>9,} cycles: {_shown(sizes[-1])}", flush=True)  # noqa: T201
    return sizes


def _one_batch(engine: Engine, users: list[uuid.UUID]) -> None:
    wishes = [Acquire(user_id, uuid.uuid4(), "bench", "bench", TTL) for user_id in users]
    with engine.begin() as conn:
        locks.acquire(conn, wishes)
    with engine.begin() as conn:
        locks.release(conn, [Release(wish.user_id, "bench", wish.lease_id) for wish in wishes])
    with engine.begin() as conn:
        outbox.sequence(conn, limit=2 * BATCH)


def _shown(sizes: Any) -> str:  # noqa: ANN401  -- a row of SIZES
    return (
        f"heap {sizes.heap / 2**20:.1f} MiB, indexes {sizes.indexes / 2**20:.1f} MiB, "
        f"HOT updates {sizes.hot_percent:.1f} %"
    )


def _compare(server_url: str, *, users: int, rounds: int) -> None:
    with new_database(server_url, pool_size=2) as small, new_database(server_url, pool_size=2) as large:
        fill(small, count=1_000, locked_percent=0)
        fill(large, count=users, locked_percent=99)
        with large.begin() as conn:
            print("\n".join(plan(conn)))  # noqa: T201
        pool_times(small, rounds=50)
        pool_times(large, rounds=50)
        times: dict[str, list[float]] = {"small": [], "large": []}
        for _ in range(5):  # side by side, so that both meet the same noise
            times["small"] += pool_times(small, rounds=rounds // 5)
            times["large"] += pool_times(large, rounds=rounds // 5)
        p50 = {name: statistics.median(seconds) * 1e3 for name, seconds in times.items()}
        ratio = p50["large"] / p50["small"]
        print(  # noqa: T201
            f"pool acquire p50: {p50['large']:.2f} ms on {users:,} users, 99 % locked, "
            f"{p50['small']:.2f} ms on 1,000 free ones: ratio {ratio:.2f}"
        )


def _bloat(server_url: str, *, users: int, cycles: int) -> None:
    with new_database(server_url, pool_size=2) as engine:
        fill(engine, count=users, locked_percent=0)
        with engine.begin() as conn:
            before = conn.execute(SIZES).one()
        print(f"{'before':>9}: {_shown(before)}", flush=True)  # noqa: T201
        sizes = cycle(engine, cycles=cycles)
        third = sizes[-4]
        print(  # noqa: T201
            f"{cycles:,} cycles on {users:,} users: heap {sizes[-1].heap / before.heap:.2f} times; in the last third "
            f"heap {sizes[-1].heap / third.heap:.2f}, indexes {sizes[-1].indexes / third.indexes:.2f} times; "
            f"HOT {sizes[-1].hot_percent:.1f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--cycles", type=int, default=300_000)
    parser.add_argument("--cycle-users", type=int, default=100_000)
    options = parser.parse_args()
    _compare(options.database_url, users=options.users, rounds=options.rounds)
    _bloat(options.database_url, users=options.cycle_users, cycles=options.cycles)


if __name__ == "__main__":
    main()
