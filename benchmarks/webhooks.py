"""From a change to its webhook: one endpoint, ordered, at given rates of changes.

    python -m benchmarks.webhooks --server-url URL --redis-url URL [--rate 10 --rate 100] [--seconds 10]

A worker process of its own delivers to a receiver in this process. Latency is from the change's commit to the receipt
of its request, by one clock; what is not received, or not in order, is counted.
"""

import argparse
import base64
import contextlib
import itertools
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sqlalchemy import Engine

from benchmarks.farms import new_database
from domain import locks, sealing, users, webhooks
from domain.sealing import KeyRing
from domain.users import NewUser
from domain.webhooks import NewWebhook

PRINCIPAL = "benchmark"
SETTLE_SECONDS = 10


class Receiver(BaseHTTPRequestHandler):
    """Notes when each event came, by its number."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    seen: list[tuple[int, float]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((int(json.loads(body)["sequence"]), time.monotonic()))
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """A line for each would drown the figures."""


def main() -> None:
    options = _options()
    keys = f"bench:{base64.b64encode(secrets.token_bytes(32)).decode()}"
    ring = sealing.parse(keys)
    seen: list[tuple[int, float]] = []
    handler = type("Handler", (Receiver,), {"seen": seen})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with new_database(options.server_url, pool_size=4) as engine:
        user_id = _prepare(engine, ring, url=f"http://127.0.0.1:{server.server_address[1]}/")
        with _worker(engine, options.redis_url, keys):
            committed = [0.0, time.monotonic()]  # by number; the user's creation is the first
            for rate in options.rate:
                _measure(engine, user_id, seen, committed, rate=rate, seconds=options.seconds)
    server.shutdown()


def _measure(
    engine: Engine,
    user_id: uuid.UUID,
    seen: list[tuple[int, float]],
    committed: list[float],
    *,
    rate: int,
    seconds: float,
) -> None:
    first = len(committed)
    begin = time.monotonic()
    for number in range(round(rate * seconds / 2)):
        for half in (0, 1):
            time.sleep(max(0.0, begin + (2 * number + half) / rate - time.monotonic()))
            if half == 0:
                lease = uuid.uuid4()
                _acquire(engine, user_id, lease)
            else:
                _release(engine, user_id, lease)
            committed.append(time.monotonic())
    took = time.monotonic() - begin
    last, deadline = len(committed) - 1, time.monotonic() + SETTLE_SECONDS
    while (not seen or seen[-1][0] < last) and time.monotonic() < deadline:
        time.sleep(0.05)
    _report(seen, committed, first=first, last=last, rate=(last - first + 1) / took)


def _report(seen: list[tuple[int, float]], committed: list[float], *, first: int, last: int, rate: float) -> None:
    came = [(number, at) for number, at in seen if first <= number <= last]
    waits = [at - committed[number] for number, at in came]
    numbers = [number for number, _ in came]
    cuts = statistics.quantiles(waits, n=100)
    print(  # noqa: T201
        f"{rate:.0f} changes/s: {len(came)} of {last - first + 1} webhooks, change to webhook "
        f"p50 {cuts[49] * 1e3:.1f} ms p99 {cuts[98] * 1e3:.1f} ms max {max(waits) * 1e3:.1f} ms, "
        f"missing {len(set(range(first, last + 1)) - set(numbers))}, "
        f"out of order {sum(a >= b for a, b in itertools.pairwise(numbers))}"
    )


def _prepare(engine: Engine, ring: KeyRing, *, url: str) -> uuid.UUID:
    with engine.begin() as conn:
        webhooks.create(conn, new=NewWebhook(url, after=None), ring=ring)
        return users.create(conn, new=NewUser("bot"), ring=ring).id


def _acquire(engine: Engine, user_id: uuid.UUID, lease: uuid.UUID) -> None:
    with engine.begin() as conn:
        locks.acquire(conn, [locks.Acquire(user_id, lease, PRINCIPAL, PRINCIPAL, timedelta(minutes=1))])


def _release(engine: Engine, user_id: uuid.UUID, lease: uuid.UUID) -> None:
    with engine.begin() as conn:
        locks.release(conn, [locks.Release(user_id, PRINCIPAL, lease)])


@contextlib.contextmanager
def _worker(engine: Engine, redis_url: str, keys: str) -> Iterator[None]:
    """`python -m worker` with one process, until the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        environment = os.environ | {
            "DATABASE_URL": engine.url.render_as_string(hide_password=False),
            "REDIS_URL": redis_url,
            "BOTFARM_REDIS_PREFIX": f"bench-{uuid.uuid4().hex}:",
            "BOTFARM_SECRET_KEYS": keys,
            "BOTFARM_WORKER_PORT": "0",
            "BOTFARM_WORKER_PROCESSES": "1",
            "BOTFARM_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
            "BOTFARM_LOG_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "worker", "--ready-file", str(ready)]
        worker = subprocess.Popen(command, env=environment)  # noqa: S603  -- a program of ours
        try:
            while not _well(ready):
                time.sleep(0.1)
            yield
        finally:
            worker.terminate()
            worker.wait()


def _well(ready: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        url = json.loads(ready.read_text())["url"]
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310  -- our own worker
            return bool(json.loads(answer.read())["status"] == "ok")
    return False


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server-url", required=True, help="a Postgres on which a database may be made")
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--rate", type=int, action="append", help="changes a second; may be given several times")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    options.rate = options.rate or [10, 100]
    return options


if __name__ == "__main__":
    main()
