"""A measurement by itself, beside `python -m benchmarks`: on servers of its own, or on those the environment names."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.failures import Unmeasured
from benchmarks.farms import servers
from benchmarks.figures import Setup
from standalone.errors import StandaloneError


@contextlib.contextmanager
def alone(*, seconds: float) -> Iterator[Setup]:
    """One round of one stretch. Raises StandaloneError and Unmeasured."""
    folder_of = tempfile.TemporaryDirectory(prefix="botfarm-bench-")
    with folder_of as name, servers.serving(Path(name)) as (database_url, redis_url):
        yield Setup(database_url, redis_url, Path(name), rounds=1, seconds=seconds, quick=False, say=say)


def run(measure: Callable[[], None]) -> int:
    """0 when what was measured is as it must be; 1, and one line that says why, when not."""
    try:
        measure()
    except (StandaloneError, Unmeasured) as error:
        print(f"failed: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return 1
    return 0


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
