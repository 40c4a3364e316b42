"""Event streams: a thousand clients on one API process, all of everything, or each of its own project.

    python -m benchmarks.streams --database-url URL --api-url URL --api-pid PID [--clients 1000] [--seconds 30]

A worker must be running on the same database and be alone with this. Changes are made straight in the database, evenly
spread; a client notes the number and the moment of each event it gets, and nothing more. Afterwards the events tell
what each should have got, and how long it had been on its way by the database's clock, which must be this machine's.
"""

import argparse
import asyncio
import contextlib
import re
import statistics
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen
from uuid import UUID

import psutil
import uvloop
from sqlalchemy import Engine, text

from benchmarks.connections import allow_many
from domain import db, locks, users
from domain.sealing import KeyRing
from domain.settings import Settings
from domain.snapshots import User

TICK_SECONDS = 0.05
CONNECT_AT_ONCE = 50
GRACE_SECONDS = 3
EVENT = re.compile(rb"\nid: \d+-(\d+)\nevent: botfarm\.(?:user|lock)\.")
TOLD = re.compile(r"^botfarm_event_streams_(\w+?)(?:_total)? (\S+)$", re.MULTILINE)
HAPPENED = text("""
SELECT seq, extract(epoch FROM occurred_at)::float8 AS at, data ->> 'project_id' AS project_id
FROM events WHERE seq > :after ORDER BY seq
""")
LAST = text("SELECT last_seq FROM relay_state")


@dataclass(eq=False)
class Client(asyncio.Protocol):
    """One stream; `got` are numbers and moments of its events."""

    path: str
    project_id: str | None = None
    got: list[tuple[int, float]] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False
    _rest: bytes = b""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401  -- uvloop's is no asyncio.Transport
        self.transport = transport
        transport.write(f"GET {self.path} HTTP/1.1\r\nHost: farm\r\n\r\n".encode())

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


async def main() -> None:
    options = _options()
    allow_many()
    engine = db.engine(Settings(database_url=options.database_url).database_url, patience_seconds=None)
    projects = [uuid.uuid4() for _ in range(options.clients)]
    with engine.begin() as conn:
        new = [users.NewUser(f"streams-{project}", project_id=project) for project in projects]
        made = [user for user in users.create_many(conn, new=new, ring=KeyRing()) if isinstance(user, User)]
    await asyncio.sleep(GRACE_SECONDS)
    path = "/api/v1/events/stream?after=latest"
    load = Load(engine, [user.id for user in made])
    everything = [Client(path) for _ in projects]
    await measure("unfiltered", everything, load, options, changes_a_second=20)
    own = [Client(f"{path}&project_id={project}", str(project)) for project in projects]
    await measure("own project", own, load, options, changes_a_second=500)


async def measure(
    name: str, clients: Sequence[Client], load: Load, options: argparse.Namespace, *, changes_a_second: float
) -> None:
    api = psutil.Process(options.api_pid)
    idle_rss = api.memory_info().rss
    with load.engine.begin() as conn:
        start = int(conn.execute(LAST).scalar_one())
    await _open(clients, options.api_url)
    before, busy, open_rss = _told(options.api_url), api.cpu_times(), api.memory_info().rss
    already = load.made
    await load.run(changes_a_second=changes_a_second, seconds=options.seconds)
    await asyncio.sleep(GRACE_SECONDS)
    after, done, rss = _told(options.api_url), api.cpu_times(), api.memory_info().rss
    for client in clients:
        client.transport.abort()
    cpu = (done.user + done.system - busy.user - busy.system) / options.seconds
    encoded, sent = (int(after[figure] - before[figure]) for figure in ("encoded", "sent"))
    with load.engine.begin() as conn:
        events = {row.seq: row for row in conn.execute(HAPPENED, {"after": start})}
    should = {client: [seq for seq, row in events.items() if _wants(client, row.project_id)] for client in clients}
    got = {client: [seq for seq, _ in client.got] for client in clients}
    lost = sum(len(set(should[client]) - set(got[client])) for client in clients)
    wrong = sum(got[client] != should[client] for client in clients)
    lags = [at - events[seq].at for client in clients for seq, at in client.got]
    cuts = statistics.quantiles(lags, n=100)
    print(  # noqa: T201
        f"{len(clients)} clients, {name}: {(load.made - already) / options.seconds:.0f} changes/s, "
        f"{len(events)} events, "
        f"{len(lags)} received ({len(lags) / options.seconds:.0f}/s), lost {lost}, clients with a gap, a repeat or "
        f"another order {wrong}, hung up on {sum(client.lost for client in clients)}; "
        f"change to client p50 {cuts[49] * 1e3:.0f} ms p99 {cuts[98] * 1e3:.0f} ms; "
        f"encoded {encoded} (once each: {encoded == len(events)}), sent {sent}; "
        f"API: {cpu:.2f} cores, RSS {idle_rss >> 20} MiB idle, {open_rss >> 20} open, {rss >> 20} at the end"
    )


def _wants(client: Client, project_id: str | None) -> bool:
    return client.project_id in {None, project_id}


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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--api-url", required=True)
    parser.add_argument("--api-pid", type=int, required=True, help="whose memory and CPU are told")
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=30)
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main())
