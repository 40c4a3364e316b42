"""Event streams: a thousand clients on one API process, all of everything, or each of its own project.

    python -m benchmarks.hardships.streams [--clients 1000] [--seconds 30]

On servers of its own, or on those that DATABASE_URL and REDIS_URL name. Changes are made straight in the database,
evenly spread; a client notes the number and the moment of each event it gets, and nothing more. Afterwards the events
tell what each should have got, and how long it had been on its way by the database's clock, which must be this
machine's. An event that did not come, came twice or out of order, and one that was encoded twice, fail the whole.
"""

import argparse
import asyncio
import contextlib
import re
import statistics
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen
from uuid import UUID

import psutil
import uvloop
from sqlalchemy import Engine, Row, text

from benchmarks.failures import Unmeasured
from benchmarks.farms.farms import Farm, farming
from benchmarks.hardships import command
from benchmarks.load.backlog import settle
from benchmarks.load.raw_connections import allow_many
from domain import locks, users
from domain.sealing import KeyRing
from domain.snapshots import User

TICK_SECONDS = 0.05
CONNECT_AT_ONCE = 50
GRACE_SECONDS = 0.5
PATIENCE_SECONDS = 60
EVENT = re.compile(rb"\nid: \d+-(\d+)\nevent: botfarm\.(?:user|lock)\.")
TOLD = re.compile(r"^botfarm_event_streams_(\w+?)(?:_total)? (\S+)$", re.MULTILINE)
HAPPENED = text("""
SELECT seq, extract(epoch FROM occurred_at)::float8 AS at, data ->> 'project_id' AS project_id
FROM events WHERE seq > :after ORDER BY seq
""")
CONNECTIONS = text("""
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'botfarm-api%'
""")
LAST = text("SELECT last_seq FROM relay_state")


@dataclass(eq=False)
class Client(asyncio.Protocol):
    """One stream; `got` are numbers and moments of its events."""

    path: str
    key: Mapping[str, str] = field(default_factory=dict)
    project_id: str | None = None
    got: list[tuple[int, float]] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False
    _rest: bytes = b""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  -- uvloop's is no asyncio.Transport
        self.transport = transport
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.key.items())
        transport.write(f"GET {self.path} HTTP/1.1\r\nHost: farm\r\n{headers}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time()  # noqa: TID251  -- compared with the times of the events
        data = self._rest + data
        whole = data.rfind(b"\n\n") + 1
        for found in EVENT.finditer(data, 0, whole + 1):
            self.got.append((int(found[1]), now))
        self._rest = data[whole:]
        if data.startswith(b"HTTP/1.1 200"):
            self.opened.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True


@dataclass
class Load:
    """Acquires and releases users in turn, so many changes a second, each user as seldom as can be."""

    engine: Engine
    user_ids: Sequence[UUID]
    leases: dict[UUID, UUID] = field(default_factory=dict)
    made: int = 0

    async def run(self, *, changes_a_second: float, seconds: float) -> None:
        began, before = time.monotonic(), self.made
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed * changes_a_second) - (self.made - before)
            if due > 0:
                await asyncio.to_thread(self._change, due)
            await asyncio.sleep(TICK_SECONDS)

    def _change(self, count: int) -> None:
        due = [self.user_ids[(self.made + n) % len(self.user_ids)] for n in range(min(count, len(self.user_ids)))]
        self.made += len(due)
        held = [user_id for user_id in due if user_id in self.leases]
        free = [user_id for user_id in due if user_id not in self.leases]
        self.leases |= {user_id: uuid.uuid4() for user_id in free}
        ttl = timedelta(hours=1)
        with self.engine.begin() as conn:
            if free:
                locks.acquire(
                    conn, [locks.Acquire(user_id, self.leases[user_id], "bench", "bench", ttl) for user_id in free]
                )
            if held:
                locks.release(conn, [locks.Release(user_id, "bench", self.leases.pop(user_id)) for user_id in held])


@dataclass(frozen=True)
class Crowd:
    """What clients got of the events that happened; `rss` of the API in bytes when idle, when open and at the end."""

    name: str
    seconds: float
    changes: int
    events: Mapping[int, Row[Any]] = field(repr=False)
    clients: Sequence[Client] = field(repr=False)
    encoded: int
    sent: int
    cores: float
    connections: int
    hung_up_on: int
    rss: tuple[int, int, int]

    def __str__(self) -> str:
        lags = [at - self.events[seq].at for client in self.clients for seq, at in client.got if seq in self.events]
        cuts = statistics.quantiles(lags, n=100)
        idle, opened, ended = (size >> 20 for size in self.rss)
        return (
            f"{len(self.clients)} clients, {self.name}: {self.changes / self.seconds:.0f} changes/s, "
            f"{len(self.events)} events, "
            f"{len(lags)} received ({len(lags) / self.seconds:.0f}/s), lost {self.lost}, clients with a gap, a repeat "
            f"or another order {self.wrong}, hung up on {self.hung_up_on}; "
            f"change to client p50 {cuts[49] * 1e3:.0f} ms p99 {cuts[98] * 1e3:.0f} ms; "
            f"encoded {self.encoded} (once each: {self.encoded == len(self.events)}), sent {self.sent}; "
            f"API: {self.cores:.2f} cores, {self.connections} database connections, "
            f"RSS {idle} MiB idle, {opened} open, {ended} at the end"
        )

    @property
    def lost(self) -> int:
        return sum(len(set(self._due(client)) - {seq for seq, _ in client.got}) for client in self.clients)

    @property
    def wrong(self) -> int:
        return sum([seq for seq, _ in client.got] != self._due(client) for client in self.clients)

    def require(self) -> None:
        """Raises Unmeasured when it was not as it must be."""
        if self.lost or self.wrong or self.hung_up_on or self.encoded != len(self.events) or not self.events:
            raise Unmeasured(str(self))

    def _due(self, client: Client) -> list[int]:
        """What the client should have got."""
        return list(self.events) if client.project_id is None else self._numbers[client.project_id]

    @cached_property
    def _numbers(self) -> Mapping[str, list[int]]:
        """Those of each project."""
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for seq, row in self.events.items():
            numbers[row.project_id].append(seq)
        return numbers


async def run(farm: Farm, *, clients: int, seconds: float) -> list[Crowd]:
    """Both crowds, one after the other."""
    allow_many()
    projects = [uuid.uuid4() for _ in range(clients)]
    with farm.engine.begin() as conn:
        new = [users.NewUser(f"streams-{project}", project_id=project) for project in projects]
        made = [user for user in users.create_many(conn, new=new, ring=KeyRing()) if isinstance(user, User)]
    await asyncio.to_thread(settle, farm.engine)
    path = "/api/v1/events/stream?after=latest"
    load = Load(farm.engine, [user.id for user in made])
    everything = [Client(path, farm.key) for _ in projects]
    own = [Client(f"{path}&project_id={project}", farm.key, str(project)) for project in projects]
    return [
        await measure("unfiltered", everything, load, farm, changes_a_second=20, seconds=seconds),
        await measure("own project", own, load, farm, changes_a_second=500, seconds=seconds),
    ]


async def measure(
    name: str, clients: Sequence[Client], load: Load, farm: Farm, *, changes_a_second: float, seconds: float
) -> Crowd:
    api = psutil.Process(next(program.pid for program in farm.programs if program.name == "api"))
    idle_rss = api.memory_info().rss
    with load.engine.begin() as conn:
        start = int(conn.execute(LAST).scalar_one())
    await _open(clients, farm.url)
    before, busy, open_rss = _told(farm.url), api.cpu_times(), api.memory_info().rss
    connections = _connections(load.engine)
    already, began = load.made, time.monotonic()
    await load.run(changes_a_second=changes_a_second, seconds=seconds)
    await asyncio.to_thread(settle, load.engine)
    with load.engine.begin() as conn:
        events = {row.seq: row for row in conn.execute(HAPPENED, {"after": start})}
    await _quiet(clients, due=_due(clients, events))
    passed = time.monotonic() - began
    after, done, rss = _told(farm.url), api.cpu_times(), api.memory_info().rss
    hung_up_on = sum(client.lost for client in clients)
    for client in clients:
        client.transport.abort()
    return Crowd(
        name,
        seconds=seconds,
        changes=load.made - already,
        events=events,
        clients=clients,
        encoded=int(after["encoded"] - before["encoded"]),
        sent=int(after["sent"] - before["sent"]),
        cores=(done.user + done.system - busy.user - busy.system) / passed,
        connections=connections,
        hung_up_on=hung_up_on,
        rss=(idle_rss, open_rss, rss),
    )


def _due(clients: Sequence[Client], events: Mapping[int, Row[Any]]) -> int:
    """How many events should come to all of them together."""
    each = Counter(row.project_id for row in events.values())
    return sum(len(events) if client.project_id is None else each[client.project_id] for client in clients)


async def _quiet(clients: Sequence[Client], *, due: int) -> None:
    """Until so many events have come in all, but not for ever; and a moment more, for what should not come."""
    for _ in range(round(PATIENCE_SECONDS / TICK_SECONDS)):
        if sum(len(client.got) for client in clients) >= due:
            break
        await asyncio.sleep(TICK_SECONDS)
    await asyncio.sleep(GRACE_SECONDS)


async def _open(clients: Sequence[Client], url: str) -> None:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    for first in range(0, len(clients), CONNECT_AT_ONCE):
        group = clients[first : first + CONNECT_AT_ONCE]
        for client in group:
            await loop.create_connection(partial(_itself, client), str(parts.hostname), parts.port or 80)
        await asyncio.wait_for(asyncio.gather(*(client.opened.wait() for client in group)), 30)


def _itself(client: Client) -> Client:
    return client


def _told(url: str) -> dict[str, float]:
    with contextlib.closing(urlopen(f"{url}/metrics")) as answer:  # noqa: S310  -- the API's own address
        return {name: float(value) for name, value in TOLD.findall(answer.read().decode())}


def _connections(engine: Engine) -> int:
    with engine.begin() as conn:
        return int(conn.execute(CONNECTIONS).scalar_one())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()

    def measured() -> None:
        with (
            command.alone(seconds=options.seconds) as setup,
            farming(setup, users=0, api_workers=1) as farm,
        ):
            crowds = uvloop.run(run(farm, clients=options.clients, seconds=options.seconds))
            for crowd in crowds:
                command.say(str(crowd))
            for crowd in crowds:
                crowd.require()

    return command.run(measured)


if __name__ == "__main__":
    sys.exit(main())
