"""The ledger: what was committed against what the stream tells. It believes nobody, least of all the relay."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple


class Change(NamedTuple):
    """A change as it was committed."""

    event_id: str
    user_id: str
    lock_version: int


class Entry(NamedTuple):
    """An entry of the stream, in the order of the stream; `body` is the payload word for word."""

    cursor: str
    event_id: str
    user_id: str
    lock_version: int
    body: str


@dataclass
class Findings:
    """What is wrong; nothing of it when the relay is right. Lists hold event ids, or cursors where there are none."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not any(vars(self).values())

    def __str__(self) -> str:
        return ", ".join(f"{name} {len(found)} (first {found[0]})" for name, found in vars(self).items() if found)


def audit(
    committed: Sequence[Change],
    entries: Sequence[Entry],
    *,
    versions: Mapping[str, int],
    numbered: Sequence[tuple[str, str]] | None = None,
) -> Findings:
    """Compare the whole stream with all that was committed.

    `versions` is the `lock_version` each user ended with, told by its row. `numbered` is cursor and payload of each
    event in order, for relays that number: then the cursors must follow each other too, and the payloads be the same.
    """
    findings = Findings()
    _count(findings, committed, entries)
    _order(findings, entries, versions)
    if numbered is not None:
        _compare(findings, entries, numbered)
    return findings


def _count(findings: Findings, committed: Sequence[Change], entries: Sequence[Entry]) -> None:
    """Every committed change once, and nothing else."""
    body = Counter(entry.event_id for entry in entries)
    known = {change.event_id for change in committed}
    findings.lost += [change.event_id for change in committed if not body[change.event_id]]
    findings.twice += [event_id for event_id, count in body.items() if count > 1]
    findings.invented += [event_id for event_id in body if event_id not in known]


def _order(findings: Findings, entries: Sequence[Entry], versions: Mapping[str, int]) -> None:
    """Per user 1, 2, 3 … up to the version its row ended with."""
    expected: defaultdict[str, int] = defaultdict(lambda: 1)
    for entry in entries:
        if entry.lock_version != expected[entry.user_id]:
            findings.disordered.append(entry.event_id)
        expected[entry.user_id] = entry.lock_version + 1
    findings.disordered += [user for user, version in versions.items() if expected[user] != version + 1]


def _compare(findings: Findings, entries: Sequence[Entry], numbered: Sequence[tuple[str, str]]) -> None:
    """The stream is the numbered events, word for word."""
    findings.gaps += [
        f"{before.cursor}..{entry.cursor}"
        for before, entry in pairwise(entries)
        if _seq(entry.cursor) != _seq(before.cursor) + 1
    ]
    if [entry.cursor for entry in entries] != [cursor for cursor, _ in numbered]:
        findings.gaps.append("the cursors of stream and events differ")
    bodies = dict(numbered)
    findings.altered += [entry.cursor for entry in entries if bodies.get(entry.cursor) != entry.body]


def _seq(cursor: str) -> int:
    return int(cursor.partition("-")[2])
