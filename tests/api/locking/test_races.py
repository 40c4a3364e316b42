"""Many clients at once, on real sockets."""

import asyncio
import collections
import contextlib
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from domain.configuration.settings import Settings
from tests import patience
from tests.api.farms import NOBODY, USERS, Farm, farming

COUNT = """
SELECT type, count(*) AS written FROM (SELECT type FROM events UNION ALL SELECT type FROM outbox) e GROUP BY type
"""


@pytest.fixture
def replicas(settings: Settings) -> Iterator[list[Farm]]:
    """Two APIs on one database."""
    with farming(settings) as one, farming(settings) as other:
        for replica in (one, other):  # FastAPI builds its routes at their first call, and not in two threads at once
            replica.acquire(NOBODY)
            replica.release(NOBODY)
            replica.client.post(f"{USERS}/batch", json=[None])
            replica.client.post(f"{USERS}/", json={})
        yield [one, other]


def new_users(farm: Farm, count: int) -> list[str]:
    rows = [{"login": f"raced-{number:03}"} for number in range(count)]
    results = farm.client.post(f"{USERS}/batch", json=rows).json()["results"]
    return [result["user"]["id"] for result in results]


def counts(farm: Farm) -> dict[str, int]:
    with farm.engine.begin() as conn:
        return {row.type: row.written for row in conn.execute(text(COUNT))}


def fire(calls: Sequence[tuple[str, str]]) -> list[httpx.Response]:
    """POST to all of these (base, path) at once, each over a connection of its own."""

    async def one(client: httpx.AsyncClient, address: str) -> httpx.Response:
        return await client.post(address)

    async def everything() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=len(calls), max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, timeout=patience.limit(60)) as client:
            return list(await asyncio.gather(*(one(client, base + path) for base, path in calls)))

    return asyncio.run(everything())


@contextlib.contextmanager
def relaying(farm: Farm) -> Iterator[None]:
    """Number the changes all the while, as the relay would."""
    over = threading.Event()

    def relay() -> None:
        while not over.wait(0.01):
            farm.publish()

    thread = threading.Thread(target=relay)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.parametrize("replica_count", [1, 2])
def test_200_acquires_of_20_users_are_20_grants(replicas: list[Farm], replica_count: int) -> None:
    farm = replicas[0]
    ids = new_users(farm, 20)
    bases = [replica.url for replica in replicas[:replica_count]]
    calls = [(bases[n % replica_count], f"{USERS}/{user_id}/acquire_lock") for user_id in ids for n in range(10)]
    random.shuffle(calls)

    with relaying(farm):
        answers = fire(calls)

    assert collections.Counter(answer.status_code for answer in answers) == {200: 20, 409: 180}
    granted = [answer.json() for answer in answers if answer.status_code == 200]
    assert sorted(user["id"] for user in granted) == sorted(ids)
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    expiries = {user["id"]: user["lock"]["expires_at"] for user in granted}
    assert [(each["type"], each["expires_at"]) for each in refused] == [
        ("urn:botfarm:problem:lock-held", expiries[each["user_id"]]) for each in refused
    ]
    assert counts(farm) == {"botfarm.user.created.v1": 20, "botfarm.lock.acquired.v1": 20}


def test_200_acquires_of_one_lapsed_user_are_one_grant(served: Farm) -> None:
    (user_id,) = new_users(served, 1)
    served.acquire(user_id)
    served.lapse(user_id)

    answers = fire([(served.url, f"{USERS}/{user_id}/acquire_lock")] * 200)

    assert collections.Counter(answer.status_code for answer in answers) == {200: 1, 409: 199}
    assert served.changes(user_id) == ["user.created", "lock.acquired", "lock.expired", "lock.acquired"]


def test_one_login_that_many_want_is_made_once(replicas: list[Farm]) -> None:
    async def everything() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=patience.limit(60)) as client:
            bodies: list[dict[str, Any]] = [{"login": f"wanted-{number}"} for number in range(5)] * 10
            calls = [
                client.post(f"{replicas[n % 2].url}{USERS}/", json=body) for n, body in enumerate([*bodies, *bodies])
            ]
            return list(await asyncio.gather(*calls))

    answers = asyncio.run(everything())

    assert collections.Counter(answer.status_code for answer in answers) == {201: 5, 400: 95}
    assert counts(replicas[0]) == {"botfarm.user.created.v1": 5}


class Desk:
    """Notes who holds what, as the holders see it; `wrongs` are the moments when two held one user."""

    def __init__(self) -> None:
        self.holders: dict[str, int] = {}
        self.tokens: dict[str, int] = {}
        self.wrongs: list[str] = []

    def taken(self, user_id: str, *, client: int, token: int) -> None:
        if user_id in self.holders:
            self.wrongs.append(f"{user_id} was held by {self.holders[user_id]} when {client} got it")
        if token <= self.tokens.get(user_id, 0):
            self.wrongs.append(f"token {token} of {user_id} came after {self.tokens[user_id]}")
        self.holders[user_id] = client
        self.tokens[user_id] = token

    def given_back(self, user_id: str) -> None:
        del self.holders[user_id]


def test_two_clients_never_hold_one_user_at_a_time(replicas: list[Farm]) -> None:
    ids = new_users(replicas[0], 3)
    desk = Desk()
    grants = 0

    async def live(client: httpx.AsyncClient, number: int) -> None:
        nonlocal grants
        for turn in range(8):
            path = f"{replicas[(number + turn) % 2].url}{USERS}/{ids[(number + turn) % 3]}"
            answer = await client.post(f"{path}/acquire_lock")
            if answer.status_code == 200:
                grants += 1
                desk.taken(answer.json()["id"], client=number, token=answer.json()["lock"]["token"])
                await asyncio.sleep(0.001)
                desk.given_back(answer.json()["id"])
                await client.post(f"{path}/release_lock", json={"lease_id": answer.json()["lease_id"]})

    async def everything() -> None:
        async with httpx.AsyncClient(timeout=patience.limit(60)) as client:
            await asyncio.gather(*(live(client, number) for number in range(24)))

    asyncio.run(everything())

    assert desk.wrongs == []
    assert grants > 8
    assert counts(replicas[0])["botfarm.lock.acquired.v1"] == grants


def test_the_desk_would_notice_two_holders_and_a_token_that_does_not_grow() -> None:
    desk = Desk()

    desk.taken("one", client=1, token=5)
    desk.taken("one", client=2, token=5)

    assert len(desk.wrongs) == 2
