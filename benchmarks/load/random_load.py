"""Storms: as many calls as the service takes, by wrk (https://github.com/wg/wrk), with every answer judged.

wrk costs some 40 µs an answer, judging it included, so on a machine shared by both it is the service that is measured.
What it asks stands in `storm.lua`.
"""

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

import httpx

from benchmarks.failures import Unmeasured
from benchmarks.load import wrk

SCRIPT = Path(__file__).with_name("random_load.lua")
OWNER = "storm"
IN_FLIGHT_SECONDS = 0.3  # at least; what was sent last may take as long as the slowest did
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
    over: threading.Event | None = None,
) -> Storm:
    """It ends when `over` is set, if not before.

    Raises Unmeasured for an answer that is neither a success nor a refusal expected of this kind.
    """
    threads = 1 if kind == "hot" or clients == 1 or len(user_ids) == 1 else 2
    with tempfile.NamedTemporaryFile("w", prefix="storm-") as ids:
        ids.write("".join(f"{user_id}\n" for user_id in user_ids))
        ids.flush()
        environment = {
            "STORM_KIND": kind,
            "STORM_OWNER": OWNER,
            "STORM_QUERY": query,
            "STORM_IDS": ids.name,
            "STORM_THREADS": str(threads),
            "STORM_AUTHORIZATION": headers.get("Authorization", ""),
        }
        done = wrk.run(
            url,
            script=SCRIPT,
            environment=environment,
            clients=clients,
            seconds=seconds,
            threads=threads,
            over=over,
        )
    found = parse(done.stdout + done.stderr)
    if kind != "read":
        _tidy(url, headers, in_flight_seconds=max(IN_FLIGHT_SECONDS, 4 * found.p99_ms / 1e3))
    return found


def parse(output: str) -> Storm:
    """The figures out of what wrk said. Raises Unmeasured for what must not have been."""
    lines = [line.removeprefix("STORM ").split("\t", 1) for line in output.splitlines() if line.startswith("STORM ")]
    figures = dict(lines)
    counts = {name.removeprefix("count "): int(value) for name, value in lines if name.startswith("count ")}
    bad = {name: counts[name] for name in ("wrong", "double", "old token") if counts.get(name)}
    if bad or float(figures.get("broken", 1)) or not counts:
        raise Unmeasured(f"{bad or 'calls without an answer'}: {figures.get('wrong', output[-500:])}")
    return Storm(float(figures["seconds"]), float(figures["p50_ms"]), float(figures["p99_ms"]), counts)


def _tidy(url: str, headers: Mapping[str, str], *, in_flight_seconds: float) -> None:
    """Give back what calls were still taking when wrk hung up, so that the next storm finds every user free."""
    with httpx.Client(base_url=url, headers=dict(headers), timeout=PATIENCE_SECONDS) as client:
        while True:
            time.sleep(in_flight_seconds)
            answer = client.post("/api/v1/users/release_lock", json={"owner": OWNER})
            answer.raise_for_status()
            if not answer.json()["released"]:
                return
