"""`python -m benchmarks.reports.documents`: the tables of docs/performance.md, made of the figures that lie beside it.

A table stands between `<!-- figures: NAME -->` and `<!-- end -->`. NAME is `bars`, `rates` (lock changes by clients and
peers), or a part, whose figures are listed one by one.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reports.tables import SIGNS, number, scaled, unit_shown

DOCUMENT = Path("docs/performance.md")
FIGURES = Path("docs/performance/figures.json")
FIGURES_BLOCK = re.compile(r"(<!-- figures: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)
UNITS = {"1/s": "a second"}
FEW_BYTES = 2**20
RATE = ("changes", "lock changes")

Figure = Mapping[str, Any]


def fill(text: str, run: Mapping[str, Any]) -> str:
    """The document with its tables as the run has them, `run` being what `reports.write` wrote as JSON."""

    def table(found: re.Match[str]) -> str:
        rows = _rows(found["name"], run)
        return found[1] + "".join(f"| {' | '.join(row)} |\n" for row in rows) + found[3]

    return FIGURES_BLOCK.sub(table, text)


def _rows(name: str, run: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    match name:
        case "bars":
            yield from _bars(run["bars"])
        case "rates":
            yield from _rates([each for each in run["figures"] if (each["part"], each["measure"]) == RATE])
        case part:
            yield from _list([each for each in run["figures"] if each["part"] == part])


def _bars(bars: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    yield "Measure", "Bar", "Found", "Within rounds", ""
    yield ("---",) * 5
    for bar in bars:
        demand = bar["demand"]
        for words, sign in SIGNS.items():
            demand = demand.replace(words, sign)
        within = f"{number(bar['lowest'])} to {number(bar['highest'])}"
        yield bar["bar"], demand, number(bar["value"]), within, bar["verdict"]


def _rates(figures: Sequence[Figure]) -> Iterator[Sequence[str]]:
    peers = list(dict.fromkeys(each["peer"] for each in figures))
    yield "Clients", *peers
    yield ("---",) * (1 + len(peers))
    for setting in dict.fromkeys(each["setting"] for each in figures):
        found = {each["peer"]: _value(each, unit=False) for each in figures if each["setting"] == setting}
        yield setting.split()[0], *(found.get(peer, "") for peer in peers)


def _list(figures: Sequence[Figure]) -> Iterator[Sequence[str]]:
    yield "Measure", "Setting", "Peer", "Median (spread)"
    yield ("---",) * 4
    for each in figures:
        yield each["measure"], each["setting"], each["peer"], _value(each)


def _value(figure: Figure, *, unit: bool = True) -> str:
    kind, median = figure["unit"], figure["median"]
    if kind == "B" and median < FEW_BYTES:
        body = "B"
    else:
        body, median = unit_shown(kind), scaled(median, unit=kind)
    words = [number(median)]
    if unit and body:
        words.append(UNITS.get(body, body))
    return f"{' '.join(words)} ({figure['spread']:.0%})".replace("%", " %")


def main() -> None:
    filled = fill(DOCUMENT.read_text(encoding="utf-8"), json.loads(FIGURES.read_text(encoding="utf-8")))
    DOCUMENT.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
