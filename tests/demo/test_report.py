"""What the last lines say."""

import io
from dataclasses import fields, replace

import pytest
from rich.console import Console

from demo import ledger, report
from demo.latencies import Sample
from demo.ledger import Books, Findings
from demo.report import Outcome
from tests.demo.stories import true_story


def outcome(books: Books | None = None, findings: Findings | None = None) -> Outcome:
    books = books or true_story().books()
    return Outcome(books, findings or ledger.check(books), [], seconds=20, clients=16, one_machine=True)


def shown(what: Outcome) -> str:
    console = Console(file=io.StringIO(), width=100)
    report.show(console, what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_good_run_shows_only_held_laws_and_one_sentence_at_the_end() -> None:
    text = shown(outcome())

    assert text.count("held") >= 7
    assert "BROKEN" not in text
    assert "no user was ever held twice" in text.splitlines()[-1]


@pytest.mark.parametrize("law", [field.name for field in fields(Findings)])
def test_each_finding_breaks_a_law_and_is_reported(law: str) -> None:
    what = outcome(findings=Findings(**{law: ["[something] was found"] * 7}))

    text = shown(what)

    assert not what.passed
    assert text.count("BROKEN") == 1
    assert text.count("[something] was found") == 5
    assert "and 2 more" in text
    assert "the laws broken" in text


def test_a_problem_outside_of_the_calls_breaks_a_law_too() -> None:
    what = replace(outcome(), problems=["a client crashed"])

    assert not what.passed
    assert "a client crashed" in shown(what)


def test_a_run_without_any_event_can_be_shown() -> None:
    assert "0 events" in shown(outcome(Books([], [], [])))


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (95, 95), (99, 99), (100, 100)])
def test_a_percentile_is_by_nearest_rank(percent: float, value: int) -> None:
    assert Sample("", range(1, 101)).percentile(percent) == value
    assert Sample("", [7]).percentile(percent) == 7
