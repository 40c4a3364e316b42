"""Storms: as many calls as the service takes, by wrk (https://github.com/wg/wrk), with every answer judged.

wrk costs some 40 µs an answer, judging it included, so on a machine shared by both it is the service that is measured.
What it asks stands in `storm.lua`.
"""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

import httpx

from benchmarks.failures import Unmeasured

SCRIPT = Path(__file__).with_name("storm.lua")
OWNER = "storm"
IN_FLIGHT_SECONDS = 0.3
PATIENCE_SECONDS = 30
OK = 200

# Each of these takes users and gives them back, but for `read`, which looks at locks:
#   locks  users in turn, every one free, so that every call is a success
#   pool   any free user that matches the query, which is a part of the body; refusals are counted
#   hot    the same user by all, one thread seeing it; refusals are expected
Kind = Literal["locks", "pool", "hot", "read"]


@dataclass(frozen=True)
class Storm:
    """What came of it: how many answers of which sort, over how long, and the latency of all of them."""

    seconds: float
    p50_ms: float
    p99_ms: float
    counts: Mapping[str, int]

    def rate(self, *names: str) -> float:
        """Answers of these sorts a second."""
        return sum(self.counts.get(name, 0) for name in names) / self.seconds

    @property
    def changes(self) -> float:
        return self.rate("granted", "released")


def storm(
    url: str,
    headers: Mapping[str, str],
    *,
    kind: Kind,
    clients: int,
    seconds: float,
    user_ids: Sequence[UUID] = (),
    query: str = "",
) -> Storm:
    """Raises Unmeasured for an answer that is neither a success nor a refusal expected of this kind."""
    threads = 1 if kind == "hot" or clients == 1 or len(user_ids) == 1 else 2
    with tempfile.NamedTemporaryFile("w", prefix="storm-") as ids:
        ids.write("".join(f"{user_id}\n" for user_id in user_ids))
        ids.flush()
        environment = os.environ | {
            "STORM_KIND": kind,
            "STORM_OWNER": OWNER,
            "STORM_QUERY": query,
            "STORM_IDS": ids.name,
            "STORM_THREADS": str(threads),
            "STORM_AUTHORIZATION": headers.get("Authorization", ""),
        }
        told = _wrk(url, environment, threads=threads, clients=clients, seconds=seconds)
    found = parse(told)
    if kind != "read":
        _tidy(url, headers)
    return found


def parse(told: str) -> Storm:
    """The figures out of what wrk said. Raises Unmeasured for what must not have been."""
    lines = [line.removeprefix("STORM ").split("\t", 1) for line in told.splitlines() if line.startswith("STORM ")]
    figures = dict(lines)
    counts = {name.removeprefix("count "): int(value) for name, value in lines if name.startswith("count ")}
    bad = {name: counts[name] for name in ("wrong", "double", "old token") if counts.get(name)}
    if bad or float(figures.get("broken", 1)) or not counts:
        raise Unmeasured(f"{bad or 'calls without an answer'}: {figures.get('wrong', told[-500:])}")
    return Storm(float(figures["seconds"]), float(figures["p50_ms"]), float(figures["p99_ms"]), counts)


def _tidy(url: str, headers: Mapping[str, str]) -> None:
    """Give back what calls were still taking when wrk hung up, so that the next storm finds every user free."""
    with httpx.Client(base_url=url, headers=dict(headers), timeout=PATIENCE_SECONDS) as client:
        while True:
            time.sleep(IN_FLIGHT_SECONDS)
            answer = client.post("/api/v1/users/release_lock", json={"owner": OWNER})
            answer.raise_for_status()
            if not answer.json()["released"]:
                return


def _wrk(url: str, environment: Mapping[str, str], *, threads: int, clients: int, seconds: float) -> str:
    whole = max(1, round(seconds))
    command = ["wrk", "-t", str(threads), "-c", str(clients), "-d", f"{whole}s", "--timeout", "10s", "-s", str(SCRIPT)]
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(  # noqa: S603  -- a program of the system, arguments of our own
            [*command, url],
            env=environment,
            capture_output=True,
            text=True,
            timeout=whole + PATIENCE_SECONDS,
            check=False,
        )
        return done.stdout + done.stderr
    raise Unmeasured("wrk did not come to an end")
