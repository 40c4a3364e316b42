"""What a run came to is told alike on the screen, in JSON and as charts, together with what went wrong."""

import io
import json
import re
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from benchmarks.reports import reports
from benchmarks.reports.reports import Run
from benchmarks.reports.tables import number
from tests.benchmarks.runs import a_run

drawing = pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not among the image's packages")


def shown(run: Run) -> str:
    console = Console(file=io.StringIO(), width=160)
    reports.show(run, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_shows_medians_with_their_spread_peer_beside_peer() -> None:
    text = shown(a_run())

    assert re.search(r"32 clients +│ +4,810 \(0%\) +│ +1,010 \(2%\)", text)
    assert "3 rounds of 10 s" in text


def test_bytes_are_shown_as_people_read_them() -> None:
    assert re.search(r"memory of the api, MiB +│ 1,000 connections +│ +96\.0 \(0%\)", shown(a_run()))


def test_the_targets_are_listed_with_what_was_found_and_the_margin() -> None:
    lines = {line.split("│")[1].strip(): line for line in shown(a_run()).splitlines() if line.count("│") == 6}

    assert re.search(r"4\.76 .* ≥ 4 .* reached", lines["botfarm / plain, 32 clients"])
    assert re.search(r"≥ 1\.2 .* not measured", lines["botfarm / etcd, 128 clients"])
    assert re.search(r"13\.0 .* ≤ 100 ms .* reached", lines["change to stream, p99 at 1,000 changes/s"])


def test_what_failed_or_was_left_out_is_said() -> None:
    text = shown(a_run(failures={"events": "Unmeasured: no"}, quick=True))

    assert "The part events failed: Unmeasured: no" in text
    assert "Left out: etcd." in text
    assert "its figures mean nothing" in text


@drawing
def test_the_json_holds_each_round_and_what_is_needed_to_understand_it(tmp_path: Path) -> None:
    file, *_ = reports.write(a_run(), folder=tmp_path / "new")

    body = json.loads(file.read_text())

    (figure,) = (f for f in body["figures"] if (f["setting"], f["peer"], f["unit"]) == ("32 clients", "plain", "1/s"))
    assert figure["rounds"] == [1_000, 1_010, 1_020]
    assert figure["median"] == 1_010
    verdicts = {bar["bar"]: (bar["verdict"], bar["missing"]) for bar in body["bars"]}
    assert verdicts["botfarm / plain, 128 clients"] == ("reached", [])
    assert verdicts["botfarm / etcd, 32 clients"] == ("not measured", ["changes: lock changes, 32 clients, etcd"])
    assert body["run"]["without"] == ["etcd"]
    assert {"when", "commit", "machine", "versions"} <= body.keys()


@drawing
def test_the_same_figures_make_the_same_charts_to_the_byte(tmp_path: Path) -> None:
    once, again = (reports.write(a_run(), folder=tmp_path / name)[1:] for name in ("once", "again"))

    assert [file.name for file in once] == ["changes-throughput.svg", "changes-latency.svg", "events.svg", "reads.svg"]
    for one, other in zip(once, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert ET.parse(one).getroot().tag.endswith("svg")


def test_a_number_keeps_three_digits_and_its_whole_integer_part() -> None:
    assert [number(value) for value in (12_345.6, 123.4, 12.34, 1.234, 0.1234, 0.0)] == [
        *("12,346", "123", "12.3", "1.23", "0.123", "0.00")
    ]
