"""The tables of the document are those of the figures that lie beside it."""

import json

from benchmarks.reports import documents
from benchmarks.reports.documents import DOCUMENT, FIGURES, fill


def test_the_document_tells_what_was_measured() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    run = json.loads(FIGURES.read_text(encoding="utf-8"))

    assert fill(text, run) == text
    assert [found["name"] for found in documents.FIGURES_BLOCK.finditer(text)][:2] == ["bars", "rates"]


def test_a_changed_figure_or_target_is_found() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for part in ("figures", "bars"):
        run = json.loads(FIGURES.read_text(encoding="utf-8"))
        for each in run[part]:
            name = "median" if part == "figures" else "value"
            each[name] *= 2

        assert fill(text, run) != text


def test_a_table_replaces_what_stood_in_its_place_and_nothing_else() -> None:
    figure = {"part": "reads", "measure": "start", "setting": "new", "peer": "botfarm", "unit": "s", "spread": 0.25}
    run = {"bars": [], "figures": [figure | {"median": 1.2345}, figure | {"part": "growth", "median": 9.0}]}

    filled = fill("before\n<!-- figures: reads -->\nold\n<!-- end -->\nafter\n", run)

    assert filled == (
        "before\n<!-- figures: reads -->\n| Measure | Setting | Peer | Median (spread) |\n| --- | --- | --- | --- |\n"
        "| start | new | botfarm | 1.23 s (25 %) |\n<!-- end -->\nafter\n"
    )
