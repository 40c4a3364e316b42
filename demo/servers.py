"""Where the demo plays: a Botfarm that somebody else runs, or one of its own that it takes down again."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo import processes
from demo.errors import DemoError

READY_SECONDS = 120.0  # a first run may have to copy Postgres
STOP_SECONDS = 60.0
POLL_SECONDS = 0.1
SHOWN_LINES = 15
OWN_PREFIX = "botfarm:"


@dataclass(frozen=True)
class Server:
    api_url: str
    redis_url: str
    redis_prefix: str = OWN_PREFIX


@contextlib.contextmanager
def own(folder: Path) -> Iterator[Server]:
    """A fresh one that keeps nothing, as long as the context lasts. Raises DemoError when it does not come up.

    It is started in `folder`, where no `.env` lies that could lead it to somebody's database.
    """
    ready_file, log = folder / "ready.json", folder / "standalone.log"
    arguments = ["demo.processes", "standalone", "--ephemeral", "--port", "0", "--ready-file", str(ready_file)]
    with log.open("wb") as output:
        process = processes.start(arguments, log=output, folder=folder)
    try:
        yield _await(process, ready_file=ready_file, log=log)
    finally:
        processes.stop(process, grace_seconds=STOP_SECONDS)


def _await(process: processes.Process, *, ready_file: Path, log: Path) -> Server:
    deadline = time.monotonic() + READY_SECONDS
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            how = "took too long to start" if process.poll() is None else f"ended with exit code {process.returncode}"
            lines = log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
            raise DemoError(f"python -m standalone {how}", log_lines=lines)
        time.sleep(POLL_SECONDS)
    body = json.loads(ready_file.read_text())
    return Server(body["api_url"], body["redis_url"])
