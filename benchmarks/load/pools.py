"""Overlapping pools: clients that take sets of 1 to 10 users of one pool, all or none, as fast as they can.

    python -m benchmarks.load.pools --database-url URL --api-url URL [--api-url URL] [--clients 64] [--users 200]

Judged afterwards by the events, whose times are the database's: that no set is partial and no user in two sets, and
which refusals were false, as enough users were free during the whole call. When a release can be seen by others is not
known: after the moment that its event tells, which is before its commit, and before its answer. So two figures are
told: by the first moment too many refusals are called false, by the second too few.

The service itself knows which refusals no count has confirmed, and counts them; that figure stands beside.
"""

import argparse
import asyncio
import bisect
import random
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

import httpx
from sqlalchemy import Connection as DatabaseConnection
from sqlalchemy import text

from benchmarks.load.raw_connections import Connection
from domain.configuration.settings import Settings
from domain.postgres import engines

OK, CREATED, CONFLICT = 200, 201, 409
UNCOUNTED = re.compile(r'^botfarm_lock_outcomes_total\{outcome="NoUserFreeUncounted"\} (\S+)', re.MULTILINE)
DEADLOCKS = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
CHANGES = text("""
SELECT user_id, lock_version, type, extract(epoch FROM occurred_at)::float8 AS at FROM (
    SELECT user_id, lock_version, type, data, occurred_at FROM events
    UNION ALL SELECT user_id, lock_version, type, data, occurred_at FROM outbox
) e WHERE type LIKE 'botfarm.lock.%' AND data ->> 'env' = :env ORDER BY occurred_at, user_id, lock_version
""")


@dataclass
class Tally:
    """What the clients saw; a refusal is when it was asked, when it was answered, and for how many."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: list[tuple[float, float, int]] = field(default_factory=list)
    releases: list[tuple[float, int]] = field(default_factory=list)  # when it was answered, and of how many users


async def _client(url: str, env: str, stop_at: float, tally: Tally) -> None:
    async with Connection(url) as connection:
        while time.monotonic() < stop_at:
            count = random.randint(1, 10)  # noqa: S311  -- only for load
            asked = time.time()  # noqa: TID251  -- compared with the times of the events
            status, answer = await connection.post("/api/v1/users/acquire_lock", {"env": env, "count": count})
            if status == CONFLICT:
                tally.refusals.append((asked, time.time(), count))  # noqa: TID251
                continue
            assert status == OK, answer
            tally.counts["sets"] += 1
            tally.counts["partial sets"] += len(answer["users"]) != count
            leases = [{"user_id": user["id"], "lease_id": user["lease_id"]} for user in answer["users"]]
            await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311
            status, answer = await connection.post("/api/v1/users/release_lock", {"leases": leases})
            tally.counts["leases lost"] += len(answer["lost"])
            tally.releases.append((time.time(), len(answer["released"])))  # noqa: TID251


async def _drive(urls: list[str], env: str, *, clients: int, users: int, seconds: float) -> Tally:
    tally = Tally()
    async with Connection(urls[0]) as connection:
        rows = [{"login": f"{env}-{n}", "env": env} for n in range(users)]
        _, answer = await connection.post("/api/v1/users/batch", rows)
        assert all(result["status"] == CREATED for result in answer["results"]), answer
    stop_at = time.monotonic() + seconds
    await asyncio.gather(*(_client(urls[n % len(urls)], env, stop_at, tally) for n in range(clients)))
    return tally


def judge(conn: DatabaseConnection, env: str, tally: Tally, *, users: int) -> None:
    """Add to the tally what the events tell: users held twice, and refusals that were false."""
    held: set[uuid.UUID] = set()
    takings, releases = [], []
    for change in conn.execute(CHANGES, {"env": env}):
        if change.type == "botfarm.lock.acquired.v1":
            tally.counts["users in two sets"] += change.user_id in held
            held.add(change.user_id)
            takings.append((change.at, -1))
        else:
            held.discard(change.user_id)
            releases.append((change.at, 1))
    tally.counts["false at most"] = _false(tally, [*takings, *releases], users=users)
    tally.counts["false at least"] = _false(tally, [*takings, *tally.releases], users=users)


def _false(tally: Tally, steps: list[tuple[float, int]], *, users: int) -> int:
    """How many refusals came while enough users were free, by steps of when how many became free or taken."""
    times, free = [0.0], [users]
    for at, change in sorted(steps):
        times.append(at)
        free.append(free[-1] + change)
    return sum(
        min(free[bisect.bisect_right(times, asked) - 1 : bisect.bisect_right(times, answered)]) >= count
        for asked, answered, count in tally.refusals
    )


def _uncounted(urls: list[str]) -> float:
    """How many refusals no count had confirmed, so far."""
    body = [httpx.get(f"{url}/metrics").text for url in urls]
    return sum(float(found) for text in body for found in UNCOUNTED.findall(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--api-url", action="append", required=True)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    env = f"pools-{uuid.uuid4().hex[:8]}"
    engine = engines.engine(Settings(database_url=options.database_url).database_url, patience_seconds=None)
    with engine.connect() as conn:
        before = conn.execute(DEADLOCKS).scalar_one()
    uncounted = _uncounted(options.api_url)
    tally = asyncio.run(
        _drive(options.api_url, env, clients=options.clients, users=options.users, seconds=options.seconds)
    )
    with engine.connect() as conn:
        judge(conn, env, tally, users=options.users)
        deadlocks = conn.execute(DEADLOCKS).scalar_one() - before
    counts, refused = tally.counts, len(tally.refusals)
    uncounted = _uncounted(options.api_url) - uncounted
    calls = counts["sets"] + refused
    print(  # noqa: T201
        f"{options.clients} clients on {options.users} users: {counts['sets'] / options.seconds:.0f} sets/s, "
        f"{refused} of {calls} calls refused, falsely {100 * counts['false at least'] / calls:.2f} "
        f"to {100 * counts['false at most'] / calls:.2f} % "
        f"(not confirmed by a count {100 * uncounted / calls:.2f} %), partial sets {counts['partial sets']}, "
        f"users in two sets {counts['users in two sets']}, leases lost {counts['leases lost']}, deadlocks {deadlocks}"
    )


if __name__ == "__main__":
    main()
