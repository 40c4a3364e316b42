"""Hand-overs: waiters in line for any user of a pool, and how long a user that was given back is nobody's.

Every waiter goes round: it asks for any user of the pool and waits in line, holds what it gets for a moment, releases
it, and asks again. Some hang up while they wait. One process drives them all, over as many connections, and so knows
when each user was released and when it was answered to the next holder.
"""

import asyncio
import math
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.failures import Unmeasured
from benchmarks.farms.farms import Farm
from benchmarks.load.raw_connections import Connection

WAIT_SECONDS = 30
VANISH = 0.02  # so many of those who wait hang up
OK = 200


@dataclass(frozen=True)
class Crowd:
    """So many waiters for users of that environment, each of which holds one so long.

    They are measured for `seconds` once all stand in line.
    """

    env: str
    waiters: int
    hold_seconds: float
    warm_up_seconds: float
    seconds: float


@dataclass
class Tally:
    """What was seen, by one clock. `holder` knows who has each user, so a double grant cannot go unseen.

    `sent` and `answered` are when a user's release was, `answered` only while it is the newest thing known of the user.
    """

    begin_at: float  # what is granted before is not measured,
    end_at: float = math.inf  # nor what is granted to those who still stand in line when nobody joins it any more
    holder: dict[str, int] = field(default_factory=dict)
    sent: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    from_sending_ms: list[float] = field(default_factory=list)
    from_answer_ms: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def grant(self, user_id: str, number: int, *, asked: float, now: float) -> None:
        """Raises Unmeasured when somebody else holds the user."""
        if user_id in self.holder:
            raise Unmeasured(f"{user_id} was granted to two")
        self.holder[user_id] = number
        sent, answered = self.sent.pop(user_id, None), self.answered.pop(user_id, None)
        if sent is not None and self.begin_at < now < self.end_at:
            self.from_sending_ms.append((now - max(sent, asked)) * 1e3)
            # The next holder may know before the one who gave back: then nobody waited.
            self.from_answer_ms.append(0.0 if answered is None else (now - max(answered, asked)) * 1e3)

    def give_back(self, user_id: str, *, now: float) -> None:
        del self.holder[user_id]
        self.sent[user_id] = now

    def given_back(self, user_id: str, *, now: float) -> None:
        if user_id in self.sent:
            self.answered[user_id] = now


async def drive(farm: Farm, crowd: Crowd) -> Tally:
    """Raises Unmeasured."""
    begin_at = time.perf_counter() + crowd.warm_up_seconds
    tally = Tally(begin_at, begin_at + crowd.seconds)
    await asyncio.gather(*(_go_round(farm, crowd, tally, number) for number in range(crowd.waiters)))
    return tally


async def _go_round(farm: Farm, crowd: Crowd, tally: Tally, number: int) -> None:
    await asyncio.sleep(random.random())  # noqa: S311  -- they do not come all at once
    async with Connection(farm.url, headers=farm.key) as connection:
        while time.perf_counter() < tally.end_at:
            asked = time.perf_counter()
            answer = await _ask(connection, tally, env=crowd.env)
            if answer is None:
                continue
            user_id = answer["id"]
            tally.grant(user_id, number, asked=asked, now=time.perf_counter())
            await asyncio.sleep(crowd.hold_seconds)
            tally.give_back(user_id, now=time.perf_counter())
            path = f"/api/v1/users/{user_id}/release_lock"
            _insist(tally, "released", await connection.post(path, {"lease_id": answer["lease_id"]}))
            tally.given_back(user_id, now=time.perf_counter())


async def _ask(connection: Connection, tally: Tally, *, env: str) -> dict[str, str] | None:
    """The user that was granted, or None for one who hung up."""
    body = {"env": env, "wait_seconds": WAIT_SECONDS, "ttl_seconds": 60}
    vanishes = random.random() < VANISH  # noqa: S311
    try:
        async with asyncio.timeout(random.uniform(0.05, 2) if vanishes else None):  # noqa: S311
            answer = await connection.post("/api/v1/users/acquire_lock", body)
    except TimeoutError:
        connection.abort()
        tally.outcomes["vanished"] += 1
        return None
    user: dict[str, str] = _insist(tally, "granted", answer)["users"][0]
    return user


def _insist(
    tally: Tally, name: str, answer: tuple[int, dict[str, list[dict[str, str]]]]
) -> dict[str, list[dict[str, str]]]:
    status, content = answer
    if status != OK:
        raise Unmeasured(f"not {name}: {status} {content}")
    tally.outcomes[name] += 1
    return content
