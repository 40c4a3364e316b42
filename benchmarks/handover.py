"""Hand-over: from a release to the answer of the one who waited for the user.

    python -m benchmarks.handover --api-url URL [--api-url URL] [--waiters 1000] [--users 50] [--seconds 10]

Every waiter goes round: it asks for any user of the pool and waits in line, holds what it gets for a moment, releases
it, and asks again. Some hang up while they wait. One process drives them all, over as many connections, half of them to
each API process, and so knows when each user was released and when it was answered to the next holder.
"""

import argparse
import asyncio
import random
import statistics
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.connections import Connection

WAIT_SECONDS = 30
CREATED = 201


@dataclass
class Tally:
    """What was seen; times in seconds. `holder` knows who has each user, so a double grant cannot go unseen."""

    begin_at: float
    handovers: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    released_at: dict[str, float] = field(default_factory=dict)
    holder: dict[str, int] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    double: int = 0


async def main() -> None:
    options = _options()
    env = f"handover-{uuid.uuid4().hex[:8]}"
    async with Connection(options.api_url[0]) as connection:
        rows = [{"login": f"{env}-{n}", "env": env} for n in range(options.users)]
        _, answer = await connection.post("/api/v1/users/batch", rows)
        assert all(result["status"] == CREATED for result in answer["results"]), answer
    tally = Tally(begin_at=time.perf_counter() + options.warm_up)
    stop_at = tally.begin_at + options.seconds
    await asyncio.gather(
        *(
            _go_round(n, options.api_url[n % len(options.api_url)], env, tally, stop_at, options)
            for n in range(options.waiters)
        )
    )
    _report(tally, seconds=options.seconds, options=options)


async def _go_round(number: int, url: str, env: str, tally: Tally, stop_at: float, options: argparse.Namespace) -> None:
    await asyncio.sleep(random.random())  # noqa: S311  -- they do not come all at once
    async with Connection(url) as connection:
        while time.perf_counter() < stop_at:
            vanish = random.random() < options.vanish  # noqa: S311
            asked = time.perf_counter()
            try:
                request = connection.post(
                    "/api/v1/users/acquire_lock", {"env": env, "wait_seconds": WAIT_SECONDS, "ttl_seconds": 60}
                )
                status, answer = await asyncio.wait_for(request, random.uniform(0.05, 2) if vanish else None)  # noqa: S311
            except TimeoutError:
                connection.abort()
                tally.outcomes["vanished"] += 1
                continue
            now = time.perf_counter()
            tally.outcomes[str(status)] += 1
            if status != 200:  # noqa: PLR2004
                continue
            (user,) = answer["users"]
            _note_grant(tally, user["id"], number, now=now, asked=asked)
            await asyncio.sleep(options.hold)
            tally.holder.pop(user["id"], None)
            tally.released_at[user["id"]] = time.perf_counter()
            status, answer = await connection.post(
                f"/api/v1/users/{user['id']}/release_lock", {"lease_id": user["lease_id"]}
            )
            tally.outcomes[f"release {status}"] += 1


def _note_grant(tally: Tally, user_id: str, number: int, *, now: float, asked: float) -> None:
    if user_id in tally.holder:
        tally.double += 1
    tally.holder[user_id] = number
    released = tally.released_at.get(user_id)
    if released is not None and now > tally.begin_at:
        tally.waits.append(now - asked)
        tally.handovers.append(now - max(released, asked))


def _report(tally: Tally, *, seconds: float, options: argparse.Namespace) -> None:
    cuts = statistics.quantiles(tally.handovers, n=100)
    waits = statistics.quantiles(tally.waits, n=100)
    print(  # noqa: T201
        f"{options.waiters} waiters on {options.users} users, {len(options.api_url)} API processes: "
        f"{len(tally.handovers) / seconds:.0f} hand-overs/s, release to answer p50 {cuts[49] * 1e3:.1f} ms "
        f"p99 {cuts[98] * 1e3:.1f} ms, wait p50 {waits[49]:.2f} s p99 {waits[98]:.2f} s, double grants {tally.double}, "
        f"{dict(tally.outcomes)}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--api-url", action="append", required=True)
    parser.add_argument("--waiters", type=int, default=1_000)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--warm-up", type=float, default=4, help="seconds until all stand in line; not measured")
    parser.add_argument("--hold", type=float, default=0.02)
    parser.add_argument("--vanish", type=float, default=0.02)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
