"""The figures as SVG: the same figures make the same files, to the byte."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator

from benchmarks.figures import Figure, Table, ordered
from benchmarks.reports.tables import number, scaled, unit_shown

# Okabe and Ito's palette, which colour-blind readers can tell apart; the markers say the same again.
COLOURS = {"botfarm": "#0072B2", "plain": "#D55E00", "pgbench": "#009E73", "etcd": "#CC79A7"}
MARKERS = {"botfarm": "o", "plain": "s", "pgbench": "^", "etcd": "D"}
SPARE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
NAMES = {"pgbench": "pgbench (one row a statement)"}
INK, GRID = "#333333", "#DDDDDD"
ROW_INCHES = 0.3
UNITS = {"1/s": "per second"}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "botfarm",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "legend.frameon": False,
}


def draw(table: Table, *, folder: Path, caption: str) -> list[Path]:
    """Draw what there are figures for; which files were written."""
    files: list[Path] = []
    parts = list(dict.fromkeys(figure.part for figure in table))
    for part in parts:
        found = [figure for figure in table if figure.part == part]
        drawn = _changes(found, folder, caption) if part == "changes" else _others(part, found, folder, caption)
        files.extend(drawn)
    return files


def _changes(found: Sequence[Figure], folder: Path, caption: str) -> Iterator[Path]:
    throughput = folder / "changes-throughput.svg"
    with _canvas(throughput, caption, inches=(8, 4.6)) as canvas:
        axes = canvas.subplots()
        _lines(axes, [figure for figure in found if figure.measure == "lock changes"])
        axes.set(title="Lock changes per second", xlabel="clients", ylim=(0, None))
    yield throughput
    latency = folder / "changes-latency.svg"
    with _canvas(latency, caption, inches=(10, 4.6)) as canvas:
        by_clients, open_loop = canvas.subplots(ncols=2, width_ratios=(2, 1))
        _lines(by_clients, [figure for figure in found if figure.measure == "latency p99"])
        by_clients.set(title="99th percentile of latency, ms", xlabel="clients", yscale="log")
        by_clients.yaxis.set_major_formatter(_plain)
        by_clients.yaxis.set_minor_locator(NullLocator())
        _bars(open_loop, [figure for figure in found if figure.measure == "latency p99, open loop"], upright=True)
        open_loop.set_title("… at half of plain's highest rate,\nopen loop, ms")
    yield latency


def _others(part: str, found: Sequence[Figure], folder: Path, caption: str) -> Iterator[Path]:
    """One panel for each unit of the part."""
    units = list(dict.fromkeys(figure.unit for figure in found))
    rows = [ordered(figure for figure in found if figure.unit == unit) for unit in units]
    heights = [len(row) + 2 for row in rows]
    file = folder / f"{part}.svg"
    with _canvas(file, caption, inches=(9, ROW_INCHES * sum(heights) + 0.8)) as canvas:
        panels = canvas.subplots(nrows=len(rows), height_ratios=heights, squeeze=False)[:, 0]
        for axes, unit, row in zip(panels, units, rows, strict=True):
            _bars(axes, row)
            axes.set_title(f"{part.capitalize()}, {UNITS.get(unit, unit_shown(unit))}")
    yield file


@contextmanager
def _canvas(file: Path, caption: str, *, inches: tuple[float, float]) -> Iterator[Canvas]:
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=inches, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1), facecolor="white")
        yield canvas
        canvas.supxlabel(caption, fontsize=7, color="#666666")
        canvas.savefig(file, metadata={"Date": None, "Creator": None})


def _lines(axes: Axes, found: Sequence[Figure]) -> None:
    """By number of clients, which the settings begin with."""
    every = sorted({_clients(figure) for figure in found})
    for peer in dict.fromkeys(figure.peer for figure in found):
        own = sorted((figure for figure in found if figure.peer == peer), key=_clients)
        axes.errorbar(
            [every.index(_clients(figure)) for figure in own],
            [figure.median for figure in own],
            yerr=_whiskers(own),
            label=NAMES.get(peer, peer),
            color=COLOURS.get(peer, INK),
            marker=MARKERS.get(peer, "o"),
            linewidth=2.5 if peer == "botfarm" else 1.5,
            markersize=6,
            capsize=3,
            elinewidth=1.2,
        )
    axes.set_xticks(range(len(every)), [f"{clients}" for clients in every])
    axes.yaxis.set_major_formatter(_plain)
    axes.grid(axis="y")
    # Below: there are points everywhere above.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, fontsize=9, handlelength=1.5, columnspacing=1)


def _bars(axes: Axes, found: Sequence[Figure], *, upright: bool = False) -> None:
    """One for each figure, with its value at the end."""
    places = range(len(found))
    heights = [scaled(figure.median, unit=figure.unit) for figure in found]
    colours = [COLOURS.get(figure.peer) or SPARE[_variant(figure, found) % len(SPARE)] for figure in found]
    if upright:
        drawn = axes.bar(places, heights, color=colours, width=0.6, yerr=_whiskers(found), ecolor=INK, capsize=3)
        axes.set_xticks(places, [figure.peer for figure in found])
        axes.grid(axis="y")
    else:
        drawn = axes.barh(places, heights, color=colours, height=0.6, xerr=_whiskers(found), ecolor=INK, capsize=2)
        axes.set_yticks(places, [_label(figure) for figure in found])
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(_plain)
        axes.margins(x=0.12, y=0.02)
        axes.grid(axis="x")
    axes.bar_label(drawn, [number(height) for height in heights], padding=4, fontsize=9)


def _variant(figure: Figure, found: Sequence[Figure]) -> int:
    """Which of the peers of its measure and setting it is, so that those compared have different colours."""
    same = [other.peer for other in found if (other.measure, other.setting) == (figure.measure, figure.setting)]
    return same.index(figure.peer)


def _label(figure: Figure) -> str:
    body = (figure.measure, figure.setting, figure.peer)
    return ", ".join(body[:2] if figure.peer == "botfarm" else body)


def _clients(figure: Figure) -> int:
    return int(figure.setting.split()[0])


def _whiskers(found: Sequence[Figure]) -> list[list[float]]:
    return [
        [scaled(figure.median - min(figure.values), unit=figure.unit) for figure in found],
        [scaled(max(figure.values) - figure.median, unit=figure.unit) for figure in found],
    ]


def _plain(value: float, _position: float) -> str:
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"
