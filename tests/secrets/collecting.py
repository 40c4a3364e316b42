"""Everything that a farm writes, as places to be scanned."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis
from sqlalchemy import Engine, text

from tests.secrets.scanning import API_KEY, LEASE, PASSWORD, WEBHOOK_SECRET, Place
from tests.worker.webhooks.receivers import Received

IDS = re.compile(r"/(?:[0-9a-f]{8}-[0-9a-f-]{27}|\d+)(?=/|$)")
# A lease stands in its own columns, and a call that waits for one user is known by its lease.
LEASE_COLUMNS = ("lease_id", "last_lease_id", "leases", "request_id")
TABLES = text(
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
)
# Which answers hold which secrets. The holder of a lease is told it by every call that changes the lock.
ANSWERS = (
    (re.compile(r"POST /api/v1/users(/\{id\})?/acquire_lock 200"), {PASSWORD, LEASE}),
    (re.compile(r"POST /api/v1/users(/\{id\})?/(acquire|renew|release)_lock \d+"), {LEASE}),
    (re.compile(r"(GET|DELETE) /api/v1/lock_requests/.*"), {LEASE}),
    (re.compile(r"POST /api/v1/webhooks/ 201"), {WEBHOOK_SECRET}),
    (re.compile(r"POST /api/v1/webhooks/\{id\}/rotate_secret 200"), {WEBHOOK_SECRET}),
    (re.compile(r"POST /api/v1/keys/ 201"), {API_KEY}),
    (re.compile(r"POST /api/v1/keys/\{id\}/rotate 200"), {API_KEY}),
)


@dataclass
class Answers:
    """Every answer to a client that calls through `hooks`."""

    places: list[Place] = field(default_factory=list)
    statuses: dict[str, set[int]] = field(default_factory=dict)

    @property
    def hooks(self) -> dict[str, list[Any]]:
        return {"response": [self._note]}

    def leases(self) -> set[str]:
        """Those that the server chose are as secret as those that a client chose."""
        body = b"\n".join(place.content for place in self.places)
        return {found.decode() for found in re.findall(rb'"lease_id": ?"([0-9a-f-]{36})"', body)}

    def _note(self, answer: httpx.Response) -> None:
        call = f"{answer.request.method} {IDS.sub('/{id}', answer.request.url.path)}"
        self.statuses.setdefault(call, set()).add(answer.status_code)
        name = f"{call} {answer.status_code}"
        may_hold = next((kinds for pattern, kinds in ANSWERS if pattern.fullmatch(name)), set())
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            body = f"{answer.headers!r}\n{answer.read().decode()}"
            self.places.append(Place.of(f"answer to {name}", body, *may_hold))


def rows(engine: Engine) -> Iterator[Place]:
    """Every table but for the columns that leases belong in."""
    with engine.connect() as conn:
        for name in sorted(conn.execute(TABLES).scalars()):
            rest = " ".join(f"- '{column}'" for column in LEASE_COLUMNS)
            found = conn.execute(text(f'SELECT (to_jsonb(t) {rest})::text FROM "{name}" t')).scalars()
            yield Place.of(f"table {name}", "\n".join(found))


def entries(url: str) -> Iterator[Place]:
    """Every key of the server, and what it holds."""
    client = redis.Redis.from_url(url)
    readers: dict[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xrange,
    }
    for key in client.scan_iter(count=1_000):
        kind = client.type(key)
        if kind in readers:  # it may have expired meanwhile
            value = b"\n".join(_flat(readers[kind](key)))
            yield Place.of(f"{kind.decode()} in Redis: {IDS.sub('', key.decode())}", key + b"\n" + value)
    client.close()


def files(folder: Path, *may_hold: str) -> Iterator[Place]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield Place.of(f"file {path.relative_to(folder.parent)}", path.read_bytes(), *may_hold)


def deliveries(received: list[Received]) -> Iterator[Place]:
    for request in received:
        yield Place.of("webhook delivery", json.dumps(request.headers).encode() + request.body)


def _flat(value: Any) -> Iterator[bytes]:
    """The bytes within whatever a Redis client gives, one after the other, unescaped."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set)):
        for each in value:
            yield from _flat(each)
    elif value is not None:
        yield value if isinstance(value, bytes) else str(value).encode()
