"""What the terminal shows. A terminal that went away never stops the stopping."""

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from standalone.errors import StandaloneError


def accept_any_encoding() -> None:
    """Show what the terminal's encoding lacks as `?`, rather than fail at it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


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
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        _silence(stream)


def _silence(stream: TextIO) -> None:
    """Let the rest go nowhere, else Python complains at its end about what it could not write."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
