"""How it ended: what was changed, how long it took, and whether every law held."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo import latencies, leases
from demo.ledger import Books, Findings, left_behind

KINDS = ("created", "acquired", "renewed", "released", "expired")
PERCENTILES = (50, 95, 99, 100)
SHOWN_FINDINGS = 5
ONE_CLOCK = "all on this machine, by its one clock"
TWO_CLOCKS = "change to consumer: by the database's clock and ours"


@dataclass(frozen=True)
class Outcome:
    """`problems` are what went wrong outside of the clients' calls: a client that crashed, an odd entry.

    `one_machine` when database, clients and consumer share a clock for sure.
    """

    books: Books
    findings: Findings
    problems: Sequence[str]
    seconds: float
    clients: int
    one_machine: bool

    @property
    def passed(self) -> bool:
        return not self.findings and not self.problems


@dataclass(frozen=True)
class Verdict:
    """A law, what was looked at, and each violation in a sentence."""

    law: str
    looked_at: str
    found: Sequence[str]


def show(console: Console, outcome: Outcome) -> None:
    verdicts = judge(outcome)
    for table in (_changes(outcome.books), _latencies(outcome), _verdicts(verdicts)):
        console.print()
        console.print(table)
    for verdict in verdicts:
        _show_findings(console, verdict)
    console.print(closing(outcome))


def judge(outcome: Outcome) -> list[Verdict]:
    books, findings = outcome.books, outcome.findings
    made = Counter(entry.outcome for entry in books.entries)
    changes = made["acquired"] + made["renewed"] + made["released"] + len(books.created)
    left = left_behind(leases.of_entries(books.entries), books.killed)
    calls, body = f"{len(books.entries):,} calls", f"{len(books.stream):,} events"
    return [
        Verdict("No change is lost", f"{changes:,} changes", findings.lost),
        Verdict("No event is told twice", body, findings.duplicated),
        Verdict("One order, without gaps", body, findings.disordered),
        Verdict("No event without a change", body, findings.unaccounted),
        Verdict("No user is held twice", f"{made['acquired']:,} leases", findings.held_twice),
        Verdict("Locks left behind expire", f"{len(left):,} locks", findings.unexpired),
        Verdict("No unexpected answer", calls, [*findings.errors, *outcome.problems]),
    ]


def closing(outcome: Outcome) -> str:
    books = outcome.books
    changes = sum(entry.outcome in {"acquired", "renewed", "released"} for entry in books.entries)
    run = (
        f"{outcome.clients} clients made {changes:,} lock changes in {outcome.seconds:.0f} s"
        f", {len(books.killed)} of them killed amid their leases"
    )
    if outcome.passed:
        return f"[bold green]{run}: every change has exactly one event, and no user was ever held twice.[/]"
    broken = ", ".join(f"“{verdict.law}”" for verdict in judge(outcome) if verdict.found)
    return f"[bold red]{run}; the laws broken: {broken}.[/]"


def _changes(books: Books) -> Table:
    """Expiries are nobody's call, so that nobody was told of them."""
    body = Counter[str](entry.outcome for entry in books.entries)
    acknowledged = {"created": len(books.created), **{kind: body[kind] for kind in KINDS[1:-1]}}
    on_stream = Counter(event.kind for event in books.stream)
    on_feed = Counter(event.kind for event in books.feed)
    table = _table("Changes", "change", "acknowledged", "on the stream", "on the feed")
    for kind in KINDS:
        first = f"{acknowledged[kind]:,}" if kind in acknowledged else "-"
        table.add_row(kind, first, f"{on_stream[kind]:,}", f"{on_feed[kind]:,}")
    table.caption = f"and {body['refused']:,} refused, {body['again']:,} repeated, {body['lapsed']:,} too late"
    return table


def _latencies(outcome: Outcome) -> Table:
    table = _table("Latency in milliseconds", "what", "p50", "p95", "p99", "most", "times")
    for sample in latencies.samples(outcome.books.entries, outcome.books.stream):
        values = [f"{sample.percentile(percent) * 1_000:,.1f}" for percent in PERCENTILES]
        table.add_row(sample.name, *values, f"{len(sample.seconds):,}")
    table.caption = ONE_CLOCK if outcome.one_machine else TWO_CLOCKS
    return table


def _verdicts(verdicts: Sequence[Verdict]) -> Table:
    table = _table("Verdict", "law", "looked at", "violations", "")
    for verdict in verdicts:
        good = not verdict.found
        colour, word = ("green", "✔ held") if good else ("red", "✘ BROKEN")
        found = f"[bold {colour}]{len(verdict.found):,}[/]"
        table.add_row(verdict.law, verdict.looked_at, found, f"[bold {colour}]{word}[/]")
    return table


def _show_findings(console: Console, verdict: Verdict) -> None:
    for finding in verdict.found[:SHOWN_FINDINGS]:
        console.print(f"[red]  {verdict.law}: {escape(finding)}[/]", soft_wrap=True)
    if len(verdict.found) > SHOWN_FINDINGS:
        console.print(f"[red]  … and {len(verdict.found) - SHOWN_FINDINGS:,} more[/]")


def _table(title: str, first: str, *more: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
    table.add_column(first, no_wrap=True)
    for name in more:
        table.add_column(name, justify="right", no_wrap=True)
    return table
