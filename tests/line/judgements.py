"""The judge of a line: what the database remembers against the laws. It believes no answer, and no process."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import inf
from typing import NamedTuple

CLEARLY_SECONDS = 0.3  # who joined so much earlier was before the other, whatever the clocks and commits
CROSSING_SECONDS = 3.0  # an answer may cross a caller who hangs up on its way, on a busy machine for long

GRANTED = "botfarm.lock.acquired.v1"
ENDED = ("botfarm.lock.released.v1", "botfarm.lock.expired.v1")


class Change(NamedTuple):
    """An event of a user's lock; times are seconds since 1970, by the database's clock."""

    user_id: str
    version: int
    type: str
    lease_id: str | None
    reason: str | None
    at: float


class Request(NamedTuple):
    """A request's row; one that was not granted has no `granted_at`."""

    request_id: str
    selector: str
    priority: int
    created_at: float
    granted_at: float | None


@dataclass
class Findings:
    """What is wrong; nothing of it where the line is lawful."""

    gaps: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    ended_twice: list[str] = field(default_factory=list)
    overtaken: list[str] = field(default_factory=list)
    kept_by_the_gone: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not any(vars(self).values())

    def __str__(self) -> str:
        return ", ".join(f"{name} {len(found)} (first {found[0]})" for name, found in vars(self).items() if found)


def judge(
    changes: Iterable[Change],
    requests: Sequence[Request],
    *,
    attended: Collection[str],
    gone: Mapping[str, float] | None = None,
) -> Findings:
    """All laws over a whole run.

    `attended` are the requests whose one call was open from joining to its grant. `gone` says of each lease that a
    vanished caller could have been given when that caller was gone.
    """
    findings = Findings()
    ends: dict[str, Change] = {}
    ordered = sorted(changes, key=lambda change: (change.user_id, change.version))
    for _, story in groupby(ordered, key=lambda change: change.user_id):
        _follow(list(story), findings, ends)
    for rivals in _by_selector(requests).values():
        findings.overtaken += _overtaken(rivals, attended)
    findings.kept_by_the_gone += [
        change.lease_id
        for change in ordered
        if change.type == GRANTED and change.lease_id is not None and _kept(change, gone or {}, ends)
    ]
    return findings


def _follow(story: Sequence[Change], findings: Findings, ends: dict[str, Change]) -> None:
    """One user's events: numbered without gaps, and no lease begins before the last has ended."""
    held: str | None = None
    for number, change in enumerate(story, start=1):
        if change.version != number:
            findings.gaps.append(f"{change.user_id} {change.version}")
        if change.type == GRANTED:
            if held is not None:
                findings.double.append(f"{change.lease_id} while {held}")
            held = change.lease_id
        elif change.type in ENDED:
            if held != change.lease_id:
                findings.ended_twice.append(str(change.lease_id))
            held = None
            ends[str(change.lease_id)] = change


def _by_selector(requests: Iterable[Request]) -> Mapping[str, list[Request]]:
    rivals: defaultdict[str, list[Request]] = defaultdict(list)
    for request in requests:
        rivals[request.selector].append(request)
    return rivals


def _overtaken(rivals: Sequence[Request], attended: Collection[str]) -> list[str]:
    """Attended requests that were granted after one that joined clearly later and is of no higher priority."""
    found = []
    for priority in {request.priority for request in rivals}:
        behind = sorted(
            (request for request in rivals if request.priority <= priority), key=lambda request: request.created_at
        )
        joined = [request.created_at for request in behind]
        first_grant = _running_minimum([request.granted_at for request in behind])
        for request in rivals:
            if request.priority == priority and request.request_id in attended:
                later = bisect_left(joined, request.created_at + CLEARLY_SECONDS)
                if first_grant[later] < (inf if request.granted_at is None else request.granted_at):
                    found.append(request.request_id)
    return found


def _running_minimum(times: Sequence[float | None]) -> list[float]:
    """For each place the earliest time from there to the end; one place more than there are times."""
    minimum = [inf]
    for time in reversed(times):
        minimum.append(minimum[-1] if time is None else min(minimum[-1], time))
    return minimum[::-1]


def _kept(grant: Change, gone: Mapping[str, float], ends: Mapping[str, Change]) -> bool:
    """Whether a caller that had gone was granted this and it was not taken back."""
    gone_at = gone.get(str(grant.lease_id))
    if gone_at is None or grant.at < gone_at + CROSSING_SECONDS:
        return False
    end = ends.get(str(grant.lease_id))
    return end is None or end.reason != "unclaimed"
