"""Reading and readiness: what the cache of locks saves, what a thousand open connections cost, how long a start takes.

Reads: `GET /users/{id}/lock` against the same with `?consistent=true`, which passes the cache by; half of the users are
locked. The part fails unless nearly all of the first come from the cache and none of the others do.

Memory: the resident sizes of all processes of the API, and of the worker, added up; pages that processes share count
for each. Idle, and with 1,000 event streams open that nobody sends anything to.

Start: from `make up` to its ready file, everything installed, with a new data folder and with that folder again.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.failures import Unmeasured
from benchmarks.farms.databases import user_ids
from benchmarks.farms.farms import Farm, farming
from benchmarks.figures import Sample, Setup
from benchmarks.load import wrk
from benchmarks.load.event_consumers import open_stream
from benchmarks.load.random_load import storm
from benchmarks.load.raw_connections import allow_many
from standalone.processes.processes import passes

PART = "reads"
CLIENTS = 32
USERS = 50  # an entry lives two seconds: so few that each is asked for many times in these
HITS_LEAST = 0.8
STREAMS = 1_000
QUICK_STREAMS = 150
REST_SECONDS, QUICK_REST_SECONDS = 3.0, 0.2
START_SECONDS = 120
SOURCES = Path(__file__).resolve().parents[2]
NAMES = {"api": "API", "worker": "worker"}
MAKE_UP = ("make", "--silent", "up")


def require(*, without: Collection[str]) -> None:  # noqa: ARG001  -- these parts have no peers to leave out
    """Raises ProgramMissing."""
    wrk.require()


def measure(setup: Setup) -> Iterator[Sample]:
    allow_many()
    with farming(setup, users=USERS, locked_percent=50) as farm:
        yield from remembering(setup, farm)
        for _ in reading(replace(setup, seconds=1), farm):
            pass  # to warm up
        for number in range(setup.rounds):
            setup.say(f"reads: round {number + 1} of {setup.rounds}")
            yield from reading(setup, farm)
    subprocess.run(["sh", ".ci/install", "standalone"], cwd=SOURCES, check=True)  # noqa: S607  -- what `make up` does
    for number in range(setup.rounds):
        setup.say(f"start: round {number + 1} of {setup.rounds}")
        yield from starting(setup, MAKE_UP, number=number)


def reading(setup: Setup, farm: Farm) -> Iterator[Sample]:
    users = user_ids(farm.engine, most=USERS)
    for peer, query in (("cached", ""), ("uncached", "?consistent=true")):
        found = storm(
            farm.url, farm.key, kind="read", clients=CLIENTS, seconds=setup.seconds, user_ids=users, query=query
        )
        hits = found.rate("hit") / found.rate("hit", "miss")
        insist(peer, hits=hits)
        yield Sample(PART, "lock reads", f"{CLIENTS} clients", peer, "1/s", found.rate("hit", "miss"))
        yield Sample(PART, "cache hits", f"{CLIENTS} clients", peer, "ratio", hits)
        yield Sample(PART, "latency p99", f"{CLIENTS} clients", peer, "ms", found.p99_ms)


def insist(peer: str, *, hits: float) -> None:
    """Raises Unmeasured when reads were not answered by what the peer stands for."""
    if hits < HITS_LEAST if peer == "cached" else hits > 0:
        raise Unmeasured(f"{hits:.0%} of the {peer} reads came from the cache")


def remembering(setup: Setup, farm: Farm) -> Iterator[Sample]:
    """Memory, of a farm that has served nobody yet."""
    streams = QUICK_STREAMS if setup.quick else STREAMS
    rest_seconds = QUICK_REST_SECONDS if setup.quick else REST_SECONDS
    time.sleep(rest_seconds)
    yield from _memory(farm, setting="idle")
    setup.say(f"memory: {streams:,} event streams")
    with ExitStack() as connections:
        for _ in range(streams):
            connections.enter_context(open_stream(farm.url, farm.key))
        time.sleep(rest_seconds)
        yield from _memory(farm, setting=f"{STREAMS:,} event streams")


def _memory(farm: Farm, *, setting: str) -> Iterator[Sample]:
    for program in farm.programs:
        parent = psutil.Process(program.pid)
        processes = [parent, *parent.children(recursive=True)]
        sizes = [process.memory_info().rss for process in processes]
        yield Sample(PART, f"memory of the {NAMES[program.name]}", setting, "botfarm", "B", sum(sizes))


def starting(setup: Setup, command: Sequence[str], *, number: int) -> Iterator[Sample]:
    """Twice the same: the first time the data folder is made."""
    data = setup.folder / f"start-{number}"
    for setting in ("new data folder", "existing data folder"):
        ready = setup.folder / f"ready-{number}.json"
        began = time.monotonic()
        with _running(command, ["--data-dir", str(data), "--port", "0", "--ready-file", str(ready)]) as process:
            if not passes(lambda: ready.exists() or process.poll() is not None, seconds=START_SECONDS):  # noqa: B023
                raise Unmeasured(f"not ready within {START_SECONDS} s")
            seconds = time.monotonic() - began
            if process.poll() is not None:
                raise Unmeasured(f"ended with {process.returncode}")
        yield Sample(PART, "start to ready", setting, "botfarm", "s", seconds)
    shutil.rmtree(data)


@contextmanager
def _running(command: Sequence[str], options: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """The command with these options, with servers and ports of its own, until the end of the block."""
    theirs = ("BOTFARM_", "DATABASE_URL", "REDIS_URL", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    variables = {"BOTFARM_WORKER_PORT": "0"}
    arguments = [f"ARGS={' '.join(options)}"] if command[0] == "make" else options
    process = subprocess.Popen(  # noqa: S603  -- our own program
        [*command, *arguments],
        cwd=SOURCES,
        env=environment | variables,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # make passes no signal on, so all get it
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(START_SECONDS)
