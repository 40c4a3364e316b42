"""Paces: so many lock changes a second through HTTP, each sent when it is due, answered or not (open loop)."""

import asyncio
import itertools
import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import uvloop

from benchmarks.connections import Connection

CONNECTIONS = 64
LATE_SECONDS = 2.0
OK = 200


class PaceError(RuntimeError):
    """A call failed, or the pace could not be kept, so that nothing was measured."""


def keep(
    url: str, headers: Mapping[str, str], *, user_ids: Sequence[UUID], changes_a_second: float, seconds: float
) -> int:
    """Acquire all users in turn, then release them in turn, and so on; how many changes were made.

    Raises PaceError for an answer that is no success, and when a call could be sent only long after it was due.
    """
    group = user_ids[: max(1, round(changes_a_second * seconds / 2))]
    turns = math.ceil(changes_a_second * seconds / (2 * len(group)))
    changes = itertools.chain.from_iterable(_turn(group) for _ in range(turns))
    return uvloop.run(_keep(url, headers, changes, pace=changes_a_second))


def _turn(user_ids: Sequence[UUID]) -> Iterator[tuple[str, dict[str, str]]]:
    """Paths and bodies: each lease that is taken is given back."""
    leases = [str(uuid.uuid4()) for _ in user_ids]
    for verb in ("acquire_lock", "release_lock"):
        for user_id, lease in zip(user_ids, leases, strict=True):
            yield f"/api/v1/users/{user_id}/{verb}", {"lease_id": lease}


async def _keep(
    url: str, headers: Mapping[str, str], changes: Iterator[tuple[str, dict[str, str]]], *, pace: float
) -> int:
    begin, numbers = time.monotonic(), itertools.count()

    async def client() -> int:
        made = 0
        async with Connection(url, headers=headers) as connection:
            for path, body in changes:
                due = begin + next(numbers) / pace
                await asyncio.sleep(due - time.monotonic())
                if time.monotonic() > due + LATE_SECONDS:
                    raise PaceError(f"{pace:.0f} changes a second are more than can be made")
                status, answer = await connection.post(path, body)
                if status != OK:
                    raise PaceError(f"{status}: {answer}")
                made += 1
        return made

    return sum(await asyncio.gather(*(client() for _ in range(CONNECTIONS))))
