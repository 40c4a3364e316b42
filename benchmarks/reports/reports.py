"""What a run came to: on the screen, as JSON, and as charts."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.figures import Figure, Sample, Setup, Table
from benchmarks.reports import machines, tables
from benchmarks.reports.targets import BARS, Bar, Verdict, judge

FILE = "figures.json"
WIDTH = 120  # where no terminal says how wide it is


@dataclass(frozen=True)
class Run:
    """Everything that a run found, and what is needed to understand it."""

    when: str
    commit: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    parts: Sequence[str]
    rounds: int
    seconds: float
    quick: bool
    without: Sequence[str]
    failures: Mapping[str, str]
    table: Table
    verdicts: Sequence[Verdict]

    @classmethod
    def of(
        cls,
        setup: Setup,
        *,
        parts: Sequence[str],
        samples: Sequence[Sample],
        failures: Mapping[str, str],
        bars: Sequence[Bar] = BARS,
    ) -> "Run":
        """To be made while the servers run, which are asked for their versions."""
        table = Table(samples)
        return cls(
            when=datetime.now(tz=UTC).isoformat(timespec="seconds"),  # noqa: TID251  -- it dates a document
            commit=machines.commit(),
            machine=machines.machine(setup.folder),
            versions=machines.versions(database_url=setup.database_url, redis_url=setup.redis_url),
            parts=parts,
            rounds=setup.rounds,
            seconds=setup.seconds,
            quick=setup.quick,
            without=sorted(setup.without),
            failures=failures,
            table=table,
            verdicts=judge(bars, table),
        )


def show(run: Run, *, console: Console | None = None) -> None:
    """The tables, the bars, and last what went wrong or was left out."""
    console = console or Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    for shown in (*tables.figures(run.table), tables.bars(run.verdicts)):
        console.print(shown)
        console.print()
    console.print(f"{run.rounds} rounds of {run.seconds:g} s; medians, in brackets the spread of the rounds.")
    console.print(f"{run.machine['CPU']}, {run.machine['cores']} cores, {run.machine['kernel']}; commit {run.commit}")
    for note in notes(run):
        console.print(note, style="yellow")


def notes(run: Run) -> list[str]:
    """What a reader of the figures must know."""
    body = [f"The part {name} failed: {reason}" for name, reason in run.failures.items()]
    if run.without:
        body.append(f"Left out: {', '.join(run.without)}.")
    if run.quick:
        body.append("A quick run: it shows that everything works, its figures mean nothing.")
    return body


def write(run: Run, *, folder: Path) -> list[Path]:
    """JSON and charts into the folder; which files."""
    from benchmarks.reports import charts  # noqa: PLC0415  -- who writes nothing needs no matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    file.write_text(json.dumps(document(run), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [file, *charts.draw(run.table, folder=folder, caption=_caption(run))]


def document(run: Run) -> dict[str, Any]:
    return {
        "when": run.when,
        "commit": run.commit,
        "machine": dict(run.machine),
        "versions": dict(run.versions),
        "run": {
            "parts": list(run.parts),
            "rounds": run.rounds,
            "seconds": run.seconds,
            "quick": run.quick,
            "without": list(run.without),
        },
        "failures": dict(run.failures),
        "bars": [_bar(verdict) for verdict in run.verdicts],
        "figures": [_figure(figure) for figure in run.table],
    }


def _bar(verdict: Verdict) -> dict[str, Any]:
    return {
        "bar": verdict.bar.text,
        "demand": f"{verdict.bar.demand} {verdict.bar.bound:g} {verdict.bar.unit}".rstrip(),
        "value": verdict.value,
        "lowest": verdict.lowest,
        "highest": verdict.highest,
        "verdict": verdict.word,
        "missing": [str(name) for name in verdict.missing],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "part": figure.part,
        "measure": figure.measure,
        "setting": figure.setting,
        "peer": figure.peer,
        "unit": figure.unit,
        "median": figure.median,
        "spread": figure.spread,
        "rounds": list(figure.values),
    }


def _caption(run: Run) -> str:
    note = "  ·  quick run: means nothing" if run.quick else ""
    return (
        f"median of {run.rounds} rounds of {run.seconds:g} s, whiskers from lowest to highest  ·  "
        f"{run.machine['CPU']}, {run.machine['cores']} cores  ·  {run.when[:10]}, {run.commit}{note}"
    )
