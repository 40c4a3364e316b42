"""The clients all together: processes that start at one word, some of which die, and their journals."""

import contextlib
import json
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from demo import processes
from demo.clients import GO
from demo.errors import DemoError

DEATH_SPAN = (0.2, 0.9)  # of the run
KILLED_SHARE = 4  # one of four dies
READY_SECONDS = 60.0
POLL_SECONDS = 0.05
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Member:
    """One client: its name, the files it writes, and when it dies, if it shall."""

    name: str
    journal: Path
    log: Path
    dies_after: float | None


class Crowd:
    """Clients that wait for the word, as long as the context lasts; none is left when it ends."""

    def __init__(self, *, size: int, seconds: float, folder: Path) -> None:
        self._seconds = seconds
        self._folder = folder
        self._chance = random.Random()  # noqa: S311  -- variety, no secrets
        self._members = _members(size, seconds=seconds, folder=folder, chance=self._chance)
        self._processes: dict[Member, processes.Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            processes.stop(process, grace_seconds=STOP_SECONDS)

    @property
    def killed(self) -> set[str]:
        """Those that the system says were killed."""
        return {member.name for member, process in self._processes.items() if process.poll() == -signal.SIGKILL}

    @property
    def busy(self) -> bool:
        return any(process.poll() is None for process in self._processes.values())

    def start(self, *, api_url: str, users: Sequence[str]) -> None:
        """Return when all of them wait for the word. Raises DemoError when they do not come to that."""
        file = self._folder / "users.json"
        file.write_text(json.dumps(self._chance.sample(users, len(users))))
        for member in self._members:
            arguments = ["demo.clients", *self._arguments(member), "--api-url", api_url, "--users", str(file)]
            with member.log.open("wb") as log:
                self._processes[member] = processes.start(arguments, log=log, folder=self._folder)
        deadline = time.monotonic() + READY_SECONDS
        while not all(member.journal.exists() for member in self._members):
            if time.monotonic() > deadline or not self.busy:
                raise DemoError("the clients do not start", log_lines=self.problems())
            time.sleep(POLL_SECONDS)

    def go(self) -> None:
        """The word at which all begin."""
        for process in self._processes.values():
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # one that is gone already is among the problems
                process.stdin.write(GO.encode())
                process.stdin.flush()

    def problems(self) -> list[str]:
        """Clients that did not end as they were meant to, with the last line they wrote."""
        found = []
        for member, process in self._processes.items():
            meant = 0 if member.dies_after is None else -signal.SIGKILL
            if process.poll() != meant:
                lines = member.log.read_text(errors="replace").splitlines() or ["it wrote nothing"]
                found.append(f"{member.name} ended with {process.poll()} instead of {meant}: {lines[-1]}")
        return found

    def _arguments(self, member: Member) -> list[str]:
        arguments = ["--name", member.name, "--journal", str(member.journal), "--seconds", str(self._seconds)]
        arguments += ["--seed", str(self._chance.getrandbits(64))]
        return arguments if member.dies_after is None else [*arguments, "--dies-after", str(member.dies_after)]


def _members(size: int, *, seconds: float, folder: Path, chance: random.Random) -> list[Member]:
    """Names that no other run has used: events and journals are matched by them."""
    run = f"demo-{chance.getrandbits(32):08x}"
    doomed = set(chance.sample(range(size), max(1, size // KILLED_SHARE)))
    return [
        Member(
            name=f"{run}-{place + 1:02d}",
            journal=folder / f"{place + 1:02d}.jsonl",
            log=folder / f"{place + 1:02d}.log",
            dies_after=seconds * chance.uniform(*DEATH_SPAN) if place in doomed else None,
        )
        for place in range(size)
    ]
