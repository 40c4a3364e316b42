"""What the terminal shows. A terminal that went away never stops the stopping."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from standalone.errors import StandaloneError


def say(text: str = "") -> None:
    _write(sys.stdout, f"{text}\n")


def complain(error: StandaloneError) -> None:
    """The failure on stderr, preceded by the log lines that explain it."""
    for line in error.log_lines:
        _write(sys.stderr, f"  | {line}\n")
    _write(sys.stderr, f"botfarm: {error}\n")


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Show `what … ok 0.9 s` around the work, on one line also where output is a file."""
    began = time.monotonic()
    _write(sys.stdout, f"{what} … ")
    try:
        yield
    except Exception:
        say(f"failed after {time.monotonic() - began:.1f} s")
        raise
    except BaseException:
        say("interrupted")
        raise
    say(f"ok {time.monotonic() - began:.1f} s")


def _write(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()
