"""Callers: a crowd that goes round and round asking for users, waiting, holding and giving back, over real sockets."""

import asyncio
import random
import time
import uuid
from asyncio import IncompleteReadError
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from benchmarks.load.raw_connections import Connection
from domain.requests.records import lease_id

ACQUIRE = "/api/v1/users/acquire_lock"
RELEASE = "/api/v1/users/release_lock"
OK, CONFLICT, UNAVAILABLE = 200, 409, 503
PATIENT_SECONDS, IMPATIENT_SECONDS = 60, 1
TTL_SECONDS = 10  # longer than it takes to find out, on a busy machine, that a grant is not fetched


@dataclass
class Journal:
    """What the callers saw; `holders` knows until when each user is held, so that a double grant cannot go unseen.

    A lease that has lapsed holds nobody: an answer that was held up for longer than that is told late, not twice.

    `attended` are requests that were granted to the one call that asked for them, `gone` those whose callers
    vanished, with the time. Hand-overs are in seconds, from the call that gave a user back to the next one's answer.
    """

    attended: set[str] = field(default_factory=set)
    gone: dict[str, float] = field(default_factory=dict)
    holders: dict[str, float] = field(default_factory=dict)
    double: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    handovers: list[float] = field(default_factory=list)
    served_at: list[float] = field(default_factory=list)
    _given_back: dict[str, float] = field(default_factory=dict)

    def leases_of_the_gone(self, user_ids: Sequence[str]) -> dict[str, float]:
        """Every lease that a vanished caller could have been given."""
        return {
            str(lease_id(UUID(request_id), user_id=UUID(user_id), single=False)): gone_at
            for request_id, gone_at in self.gone.items()
            for user_id in user_ids
        }

    def take(self, user: Mapping[str, Any], *, asked_at: float | None) -> None:
        now, user_id = time.time(), str(user["id"])
        expires_at = datetime.fromisoformat(user["lock"]["expires_at"]).timestamp()
        if expires_at < now:
            self.seen["told too late"] += 1
            return
        if self.holders.get(user_id, 0.0) > now:
            self.double.append(user_id)
        self.holders[user_id] = expires_at
        if user_id in self._given_back and asked_at is not None:
            self.handovers.append(now - max(self._given_back[user_id], asked_at))

    def give_back(self, user_id: str) -> None:
        self.holders.pop(user_id, None)
        self._given_back[user_id] = time.time()


@dataclass
class Crowd:
    """`count` callers, each at the next one of `urls`; those that lose their process go on at another.

    `vanishing` is the share of calls that are hung up on in the middle. `mortal` are the URLs whose callers die with
    their process; calls at `hanging` ones are not judged by order, for nobody attends them meanwhile.
    """

    urls: Sequence[str]
    count: int
    vanishing: float = 0.1
    mortal: Sequence[str] = ()
    hanging: Sequence[str] = ()
    journal: Journal = field(default_factory=Journal)
    stopping: bool = False

    async def run(self, *, seconds: float) -> None:
        """Go round for so long; then everybody who still waits is waited for."""
        callers = asyncio.gather(*(self._caller(number) for number in range(self.count)))
        await asyncio.sleep(seconds)
        self.stopping = True
        await callers

    async def _caller(self, number: int) -> None:
        caller = _Caller(self, number, random.Random(number), self.urls[number % len(self.urls)])
        await asyncio.sleep(caller.dice.uniform(0, 0.5))
        while not (self.stopping or caller.dead):
            await caller.go_round()
        caller.connection.abort()


@dataclass
class _Caller:
    crowd: Crowd
    number: int
    dice: random.Random
    url: str
    dead: bool = False

    def __post_init__(self) -> None:
        self.connection = Connection(self.url)

    async def go_round(self) -> None:
        """Ask, hold for a moment, give back; now and then hang up instead."""
        wish = self._wish()
        if self.dice.random() < self.crowd.vanishing:
            await self._vanish(wish)
            return
        answer = await self._until_served(wish)
        if answer is not None:
            await asyncio.sleep(self.dice.uniform(0.01, 0.05))
            await self._give_back(answer)

    def _wish(self) -> dict[str, Any]:
        return {
            "request_id": str(uuid.uuid4()),
            "count": self.dice.choices((1, 2, 3), (8, 1, 1))[0],
            "priority": self.dice.choices((0, 5), (9, 1))[0],
            "wait_seconds": self.dice.choices((PATIENT_SECONDS, IMPATIENT_SECONDS), (4, 1))[0],
            "ttl_seconds": TTL_SECONDS,
        }

    async def _vanish(self, wish: dict[str, Any]) -> None:
        asked_at = time.time()
        try:
            call = self.connection.post(ACQUIRE, wish)
            status, answer = await asyncio.wait_for(call, self.dice.uniform(0.02, 1.5))
        except TimeoutError:
            self.connection.abort()
            self.crowd.journal.gone[wish["request_id"]] = time.time()
            self.crowd.journal.seen["vanished"] += 1
        except (OSError, IncompleteReadError):
            self._lose_process(wish)
        else:
            if status == OK:
                self._note(wish, answer, calls=1, asked_at=asked_at)
                await self._give_back(answer)

    async def _until_served(self, wish: dict[str, Any]) -> dict[str, Any] | None:
        """Ask until there is an answer, again after a time-out and elsewhere when the process is gone."""
        journal = self.crowd.journal
        calls = 0
        while not self.dead:
            calls, asked_at = calls + 1, time.time()
            try:
                status, answer = await self.connection.post(ACQUIRE, wish)
            except (OSError, IncompleteReadError):
                self._lose_process(wish)
                await asyncio.sleep(0.1)
                continue
            if status == CONFLICT and answer["type"].endswith("no-user-free"):
                journal.seen["asked again"] += 1
                continue
            if status == UNAVAILABLE:
                journal.seen["unavailable"] += 1
                await asyncio.sleep(0.1)
                continue
            if status != OK:
                journal.refused.append(f"{status} {answer}")
                return None
            self._note(wish, answer, calls=calls, asked_at=asked_at)
            return dict(answer)
        return None

    def _note(self, wish: dict[str, Any], answer: dict[str, Any], *, calls: int, asked_at: float) -> None:
        journal = self.crowd.journal
        journal.seen["served"] += 1
        journal.served_at.append(time.time())
        if calls == 1 and self.url not in self.crowd.hanging:
            journal.attended.add(wish["request_id"])
        for user in answer["users"]:
            # What was kept for a request for several has waited for it, and is no hand-over from one to the next.
            journal.take(user, asked_at=asked_at if wish["count"] == 1 else None)

    async def _give_back(self, answer: dict[str, Any]) -> None:
        leases = [{"user_id": user["id"], "lease_id": user["lease_id"]} for user in answer["users"]]
        for lease in leases:
            self.crowd.journal.give_back(lease["user_id"])
        while leases and not self.dead:
            try:
                status, body = await self.connection.post(RELEASE, {"leases": leases})
            except (OSError, IncompleteReadError):
                self._lose_process({})
                await asyncio.sleep(0.1)
                continue
            if status == UNAVAILABLE:
                await asyncio.sleep(0.1)
                continue
            if status != OK:
                self.crowd.journal.refused.append(f"release {status} {body}")
            return

    def _lose_process(self, wish: dict[str, Any]) -> None:
        """The connection broke: go on elsewhere, or die with the process."""
        self.connection.abort()
        journal = self.crowd.journal
        if self.url in self.crowd.mortal:
            self.dead = True
            journal.seen["died"] += 1
            if wish:
                journal.gone[wish["request_id"]] = time.time()
            return
        journal.seen["lost its process"] += 1
        self.url = self.dice.choice(self.crowd.urls)
        self.connection = Connection(self.url)
