"""One part of the benchmark by itself: `python -m benchmarks.contention --database-url URL --redis-url URL`."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.figures import Sample, Setup, Table
from domain.settings import Settings


def run(measure: Callable[[Setup], Iterator[Sample]], *, about: str | None, arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for, and print the median and spread of each figure."""
    options = _parser(about).parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="botfarm-bench-") as folder:
        setup = Setup(
            database_url=Settings(database_url=options.database_url).database_url,
            redis_url=options.redis_url,
            folder=Path(folder),
            rounds=options.rounds,
            seconds=options.seconds,
            quick=options.quick,
            say=lambda text: print(text, file=sys.stderr, flush=True),  # noqa: T201
        )
        for figure in Table(measure(setup)):
            name = f"{figure.measure}, {figure.setting}, {figure.peer}"
            print(f"{name}: {figure.median:,.1f} {figure.unit} (spread {figure.spread:.0%})")  # noqa: T201


def _parser(about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True, help="a Postgres on which databases may be made")
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="length of each measured stretch")
    parser.add_argument("--quick", action="store_true", help="everything small, to see that it works")
    return parser
