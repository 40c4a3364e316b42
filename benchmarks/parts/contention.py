"""Contention: one user wanted by all, and pools of which few users are free.

The hot user is fought over by 256 clients of one observer, who sees every answer: a grant while another holds the user
fails the part, and so do the events if they tell of two grants without an end between them. Pools: each client takes
any user of a pool and gives it back. There are always more free users than clients, so a call that finds nobody free is
a false refusal: it counts for nothing, its share is printed, and more than one of a hundred fail the part.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import text

from benchmarks.failures import Unmeasured
from benchmarks.farms.databases import fill, user_ids
from benchmarks.farms.farms import Farm, farming
from benchmarks.figures import Sample, Setup
from benchmarks.load import wrk
from benchmarks.load.random_load import Storm, storm

PART = "contention"
CLIENTS = 256
POOL_CLIENTS = 32
FALSE_MOST = 0.01
LOCKED = (10, 90, 99)
ACQUIRED = "botfarm.lock.acquired.v1"
HISTORY = text("""
SELECT type FROM (
    SELECT lock_version, type FROM events WHERE user_id = :user_id
    UNION ALL SELECT lock_version, type FROM outbox WHERE user_id = :user_id
) changes WHERE type LIKE 'botfarm.lock.%' ORDER BY lock_version
""")


@dataclass(frozen=True)
class Sizes:
    """How many users each pool has: those of three fillings, the large one, and the one it is compared with."""

    pool: int
    large: int
    small: int
    clients: int = POOL_CLIENTS


FULL = Sizes(pool=10_000, large=1_000_000, small=1_000)
QUICK = Sizes(pool=2_000, large=5_000, small=1_000, clients=8)


def require(*, without: Collection[str]) -> None:  # noqa: ARG001  -- these parts have no peers to leave out
    """Raises ProgramMissing."""
    wrk.require()


def measure(setup: Setup) -> Iterator[Sample]:
    sizes = QUICK if setup.quick else FULL
    with ExitStack() as farms:
        contended = farms.enter_context(farming(setup, users=1))
        for percent in LOCKED:
            fill(contended.engine, count=sizes.pool, locked_percent=percent, env=_env(percent))
        setup.say(f"filling {sizes.large:,} users, 99 % locked")
        large = farms.enter_context(farming(setup, users=sizes.large, locked_percent=99))
        small = farms.enter_context(farming(setup, users=sizes.small))
        for _ in comparing(replace(setup, seconds=1), large, small, sizes=sizes):
            pass  # to warm up
        for number in range(setup.rounds):
            setup.say(f"contention: round {number + 1} of {setup.rounds}")
            yield from fighting(setup, contended)
            for percent in LOCKED:
                setting = f"{percent} % of {sizes.pool:,} locked"
                yield from _pool(setup, contended, env=_env(percent), sizes=sizes, setting=setting, peer="botfarm")
            yield from comparing(setup, large, small, sizes=sizes)


def fighting(setup: Setup, farm: Farm) -> Iterator[Sample]:
    user_id = user_ids(farm.engine, most=1)[0]
    found = storm(farm.url, farm.key, kind="hot", clients=CLIENTS, seconds=setup.seconds, user_ids=[user_id])
    if twice := twice_held(_history(farm, user_id)):
        raise Unmeasured(f"{twice} grants of a user that was held")
    setting = f"{CLIENTS} clients on one user"
    yield Sample(PART, "grants", setting, "botfarm", "1/s", found.rate("granted"))
    yield Sample(PART, "refusals", setting, "botfarm", "1/s", found.rate("refused"))
    yield Sample(PART, "latency p50", setting, "botfarm", "ms", found.p50_ms)
    yield Sample(PART, "latency p99", setting, "botfarm", "ms", found.p99_ms)


def comparing(setup: Setup, large: Farm, small: Farm, *, sizes: Sizes) -> Iterator[Sample]:
    for farm, peer in ((large, "1 M users, 99 % locked"), (small, "1 k users, none locked")):
        yield from _pool(setup, farm, env="stage", sizes=sizes, setting=f"{POOL_CLIENTS} clients", peer=peer)


def _pool(setup: Setup, farm: Farm, *, env: str, sizes: Sizes, setting: str, peer: str) -> Iterator[Sample]:
    """Grants a second, each of them followed by its release."""
    query = f'"env":"{env}"'
    found = storm(farm.url, farm.key, kind="pool", clients=sizes.clients, seconds=setup.seconds, query=query)
    yield Sample(PART, "pool acquires", setting, peer, "1/s", found.rate("granted"))
    yield Sample(PART, "false refusals", setting, peer, "ratio", false_share(found))


def false_share(found: Storm) -> float:
    """Raises Unmeasured when so many calls were refused that the others say little."""
    share = found.rate("refused") / found.rate("granted", "refused")
    if share > FALSE_MOST:
        raise Unmeasured(f"{share:.1%} of the calls found no free user though there were some")
    return share


def _env(percent: int) -> str:
    return f"locked-{percent}"


def _history(farm: Farm, user_id: UUID) -> list[str]:
    with farm.engine.begin() as conn:
        return list(conn.execute(HISTORY, {"user_id": user_id}).scalars())


def twice_held(types: Iterable[str]) -> int:
    """How many grants came while the one before had no end yet, by the types of a user's lock events in order."""
    return sum(before == after == ACQUIRED for before, after in itertools.pairwise(types))
