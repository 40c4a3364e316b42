"""Open-loop load: calls come at a constant rate, whether or not earlier ones have been answered.

    REPLAY_AUTHORIZATION=… python -m benchmarks.load.open_loop URL FILE --rate 500 --seconds 10 [--connections 64]

The latency of a call counts from the moment it was meant to be sent, not from when a connection was free for it: so a
service that stalls pays for everybody who would have called meanwhile, which closed-loop clients, who wait politely,
never show. FILE holds a path and a body a line. It prints its findings as one line of JSON.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.failures import Unmeasured
from benchmarks.load.raw_connections import Connection
from benchmarks.load.wrk import Drive

CONNECTIONS = 64
OK = 200
PATIENCE_SECONDS = 60


@dataclass
class Findings:
    latencies: list[float] = field(default_factory=list)
    refused: int = 0


def drive(
    url: str, *, file: Path, rate: float, seconds: float, headers: Mapping[str, str], connections: int = CONNECTIONS
) -> Drive:
    """Run it in a process of its own. Raises Unmeasured when any call was refused."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.load.open_loop",
        url,
        str(file),
        f"--rate={rate}",
        f"--seconds={seconds}",
    ]
    done = subprocess.run(  # noqa: S603  -- our own command line
        [*command, f"--connections={connections}"],
        env=os.environ | {"REPLAY_AUTHORIZATION": headers.get("Authorization", "")},
        capture_output=True,
        text=True,
        timeout=seconds + PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise Unmeasured(f"the open-loop clients failed: {' '.join(done.stderr.split())[-300:]}")
    body = json.loads(done.stdout)
    if body["refused"]:
        raise Unmeasured(f"{url} refused {body['refused']} of {body['answers']} calls that should all have succeeded")
    return Drive(body["answers"], body["seconds"], body["p50_ms"], body["p99_ms"])


async def load(options: argparse.Namespace) -> Findings:
    lines = [line.split("\t", 1) for line in options.file.read_text(encoding="utf-8").splitlines()]
    key = os.environ.get("REPLAY_AUTHORIZATION")
    headers = {"Authorization": key} if key else {}
    findings, idle = Findings(), asyncio.Queue[Connection]()
    async with AsyncExitStack() as stack:
        for _ in range(options.connections):
            idle.put_nowait(await stack.enter_async_context(Connection(options.url, headers=headers)))
        began = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as calls:
            for number in range(int(options.rate * options.seconds)):
                meant_at = began + number / options.rate
                await asyncio.sleep(meant_at - time.perf_counter())
                path, body = lines[number % len(lines)]
                calls.create_task(_call(idle, findings, path=path, body=body, meant_at=meant_at))
    return findings


async def _call(idle: asyncio.Queue[Connection], findings: Findings, *, path: str, body: str, meant_at: float) -> None:
    connection = await idle.get()
    status, _ = await connection.post(path, json.loads(body) if body else None)
    findings.latencies.append((time.perf_counter() - meant_at) * 1e3)
    findings.refused += status != OK
    idle.put_nowait(connection)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--rate", type=float, required=True, help="calls a second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    options = parser.parse_args()
    findings = uvloop.run(load(options))
    cuts = statistics.quantiles(findings.latencies, n=100)
    body = {
        "answers": len(findings.latencies),
        "seconds": options.seconds,
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "refused": findings.refused,
    }
    print(json.dumps(body))  # noqa: T201


if __name__ == "__main__":
    main()
