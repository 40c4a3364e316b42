"""Figures and bars as tables for the terminal."""

import math
from collections.abc import Iterator, Sequence

from rich.table import Table as Shown
from rich.text import Text

from benchmarks.figures import Figure, Table, ordered
from benchmarks.reports.targets import Verdict

COLOURS = {"reached": "green", "missed": "red", "not measured": "yellow"}
DIGITS = 3
NOTHING = "-"
SCALES = {"B": (2**20, "MiB")}
SIGNS = {"at least": "≥", "at most": "≤"}


def figures(table: Table) -> Iterator[Shown]:
    """One for each part: measures and settings down, peers across."""
    for part in dict.fromkeys(figure.part for figure in table):
        yield _part(part, [figure for figure in table if figure.part == part])


def bars(verdicts: Sequence[Verdict]) -> Shown:
    shown = Shown(title="bars", title_justify="left")
    shown.add_column("measure")
    for heading in ("found", "within rounds", "bar"):
        shown.add_column(heading, justify="right")
    shown.add_column("verdict")
    for verdict in verdicts:
        bar = verdict.bar
        shown.add_row(
            bar.text,
            NOTHING if verdict.value is None else number(verdict.value),
            _range(verdict),
            f"{SIGNS[bar.demand]} {bar.bound:g} {bar.unit}".rstrip(),
            Text(verdict.word, style=COLOURS[verdict.word]),
        )
    return shown


def number(value: float) -> str:
    """With three significant digits, but never an integer part cut short."""
    if not math.isfinite(value):
        return NOTHING
    digits = DIGITS - 1 - (math.floor(math.log10(abs(value))) if value else 0)
    return f"{value:,.{min(max(0, digits), DIGITS)}f}"


def scaled(value: float, *, unit: str) -> float:
    """In the unit that `unit_shown` names."""
    return value / SCALES.get(unit, (1, unit))[0]


def unit_shown(unit: str) -> str:
    """The unit that people read instead."""
    return SCALES.get(unit, (1, unit))[1]


def _part(part: str, found: Sequence[Figure]) -> Shown:
    peers = list(dict.fromkeys(figure.peer for figure in found))
    shown = Shown(title=part, title_justify="left")
    for heading in ("measure", "setting"):
        shown.add_column(heading)
    for peer in peers:
        shown.add_column(peer, justify="right")
    before = None
    rows = dict.fromkeys((figure.measure, figure.setting, figure.unit) for figure in ordered(found))
    for measure, setting, unit in rows:
        if before not in {None, measure}:
            shown.add_section()
        cells = [_cell(_of(found, measure=measure, setting=setting, peer=peer)) for peer in peers]
        shown.add_row("" if measure == before else f"{measure}, {unit_shown(unit)}", setting, *cells)
        before = measure
    return shown


def _of(found: Sequence[Figure], *, measure: str, setting: str, peer: str) -> Figure | None:
    named = (figure for figure in found if (figure.measure, figure.setting, figure.peer) == (measure, setting, peer))
    return next(named, None)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    spread = f" ({figure.spread:.0%})" if len(figure.values) > 1 else ""
    return f"{number(scaled(figure.median, unit=figure.unit))}{spread}"


def _range(verdict: Verdict) -> str:
    if verdict.lowest is None or verdict.highest is None:
        return NOTHING
    return f"{number(verdict.lowest)} to {number(verdict.highest)}"
