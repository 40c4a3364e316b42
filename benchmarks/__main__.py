"""`python -m benchmarks`: measure, tell, and draw."""

import argparse
import importlib
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from benchmarks import options
from benchmarks.failures import Unmeasured
from benchmarks.farms import servers
from benchmarks.figures import Sample, Setup
from benchmarks.reports import reports
from benchmarks.reports.reports import Run
from standalone.errors import StandaloneError

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """0 when everything that was asked for was measured, whatever came out; 1 when not; 130 when interrupted."""
    chosen = options.parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="botfarm-bench-") as folder:
            return _run(chosen, Path(folder))
    except KeyboardInterrupt:
        _say("interrupted: everything has been stopped, nothing was written")
        return INTERRUPTED
    except (StandaloneError, Unmeasured) as error:
        _say(str(error))
        return 1


def _run(chosen: argparse.Namespace, folder: Path) -> int:
    modules = [importlib.import_module(f"benchmarks.parts.{name}") for name in chosen.parts]
    _require(modules, without=chosen.without)
    progress = Progress(chosen.parts)
    with servers.serving(folder) as (database_url, redis_url):
        setup = Setup(
            database_url=database_url,
            redis_url=redis_url,
            folder=folder,
            rounds=chosen.rounds,
            seconds=chosen.seconds,
            quick=chosen.quick,
            say=progress.say,
            without=chosen.without,
        )
        run = measured(modules, setup, progress)
    reports.show(run)
    output = chosen.output or (None if chosen.quick else options.OUTPUT)
    if output is not None:
        _say(f"written: {', '.join(str(file) for file in reports.write(run, folder=output))}")
    return 1 if run.failures else 0


def _require(modules: Sequence[ModuleType], *, without: Collection[str]) -> None:
    """Ask each part for the programs it needs, so that none is missed after an hour. Raises ProgramMissing."""
    for module in modules:
        if hasattr(module, "require"):
            module.require(without=without)


def measured(modules: Sequence[ModuleType], setup: Setup, progress: "Progress") -> Run:
    """What the parts found; one that fails is reported and does not keep others from being measured."""
    samples: list[Sample] = []
    failures: dict[str, str] = {}
    for module in modules:
        name = module.__name__.rpartition(".")[2]
        progress.begin(name)
        try:
            samples.extend(module.measure(setup))  # what came before a failure is kept
        except Exception as error:  # noqa: BLE001  -- one part that fails must not take the others' hours along
            failures[name] = f"{type(error).__name__}: {error}".strip()
            progress.say(f"{name} failed: {failures[name]}")
    return Run.of(setup, samples=samples, failures=failures, parts=[module.__name__ for module in modules])


class Progress:
    """Lines on stderr with the time that has passed and the parts that are still to come."""

    def __init__(self, parts: Sequence[str]) -> None:
        self._began = time.monotonic()
        self._waiting = list(parts)

    def begin(self, part: str) -> None:
        self._waiting = self._waiting[self._waiting.index(part) + 1 :]

    def say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        rest = f"  (then {', '.join(self._waiting)})" if self._waiting else ""
        _say(f"{minutes:3}:{seconds:02}  {text}{rest}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
