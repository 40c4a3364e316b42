"""Child processes that end with us, however we end.

The input of each is a pipe of which we alone hold the other end. When we close it, or the system does because we were
killed, the child reads the end of its input and goes.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

Process = subprocess.Popen[bytes]

SOURCES = Path(__file__).resolve().parent.parent
# What leads a Botfarm of our own to somebody's database.
FOREIGN = ("BOTFARM_", "DATABASE_URL", "REDIS_URL")


def start(arguments: Sequence[str], *, log: BinaryIO, folder: Path) -> Process:
    """Run `python -m ARGUMENTS` in `folder`, in a session of its own: Ctrl-C reaches only us, and we end the others."""
    return subprocess.Popen(  # noqa: S603  -- our own modules only
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=_environment(),
        start_new_session=True,
    )


def stop(process: Process, *, grace_seconds: float) -> None:
    """End its input, wait, and kill it with all of its session if it does not go."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(timeout=grace_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def at_end_of_input(do: Callable[[], object]) -> None:
    """The child's side: do this when the parent has ended our input."""

    def watch() -> None:
        sys.stdin.read()
        do()

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def _environment() -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    path = os.pathsep.join(filter(None, [str(SOURCES), kept.get("PYTHONPATH")]))
    return kept | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def main(arguments: Sequence[str]) -> int:
    """`python -m demo.processes MODULE [ARGUMENT…]`: a module that knows nothing of its input, stopped by SIGTERM."""
    module = subprocess.Popen([sys.executable, "-m", *arguments], stdin=subprocess.DEVNULL)  # noqa: S603  -- likewise
    at_end_of_input(module.terminate)
    return module.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
