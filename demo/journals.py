"""What the clients write down. The ledger survives them: a line is with the system before the next step is taken."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Verb = Literal["acquire", "renew", "release"]
Outcome = Literal["acquired", "renewed", "released", "again", "refused", "lapsed", "error"]
PATTERN = "*.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """One call and its answer.

    `sent` and `answered` are monotonic seconds, which the processes of one machine share. `version` is the user's
    lock_version after the change. `again` answers a repeated call; `lapsed` a call that came after the lease's end;
    `error` is any answer that should not have been given, with `detail`.
    """

    client: str
    call: Verb
    outcome: Outcome
    user: str
    lease: str
    sent: float
    answered: float
    token: int = 0
    version: int = 0
    ttl_seconds: int = 0
    detail: str = ""


class Journal:
    """The writing end, one for each client."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, entry: Entry) -> None:
        """Unbuffered, so that it is written even when the process is killed right after."""
        os.write(self._descriptor, json.dumps(asdict(entry)).encode() + b"\n")


class Journals:
    """The reading end of all journals of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[Path, int] = {}
        self.entries: list[Entry] = []

    def read(self) -> list[Entry]:
        """Read on; all entries so far, each client's in its order."""
        for path in sorted(self._folder.glob(PATTERN)):
            self.entries += self._read_on(path)
        return self.entries

    def _read_on(self, path: Path) -> Iterator[Entry]:
        """Whole lines only: the last may be just being written."""
        with path.open("rb") as file:
            file.seek(self._offsets.get(path, 0))
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self._offsets[path] = self._offsets.get(path, 0) + len(whole) + 1
            for line in whole.split(b"\n"):
                yield Entry(**json.loads(line))
