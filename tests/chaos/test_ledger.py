"""The ledger finds what it is there to find: each wrong by itself."""

import json

import pytest

from tests.chaos.ledger import Change, Entry, Findings, audit


def _entry(seq: int, *, version: int | None = None) -> Entry:
    body = json.dumps({"id": f"e{seq}"})
    return Entry(f"1-{seq}", f"e{seq}", "u", version or seq, body)


COMMITTED = [Change(f"e{seq}", "u", seq) for seq in range(1, 6)]
ENTRIES = [_entry(seq) for seq in range(1, 6)]


def _audit(entries: list[Entry]) -> Findings:
    numbered = [(entry.cursor, entry.body) for entry in ENTRIES]
    return audit(COMMITTED, entries, versions={"u": 5}, numbered=numbered)


def test_a_right_stream_is_clean() -> None:
    assert _audit(ENTRIES).clean


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        (ENTRIES[:-1], "lost"),
        (ENTRIES[1:], "lost"),
        ([*ENTRIES[:2], *ENTRIES[3:]], "gaps"),
        ([*ENTRIES, ENTRIES[-1]], "twice"),
        ([*ENTRIES, _entry(6)], "invented"),
        ([ENTRIES[1], ENTRIES[0], *ENTRIES[2:]], "disordered"),
        ([*ENTRIES[:4], ENTRIES[4]._replace(body="{}")], "altered"),
        ([*ENTRIES[:4], ENTRIES[4]._replace(cursor="1-9")], "gaps"),
        ([*ENTRIES[:4], _entry(5, version=4)], "disordered"),
    ],
)
def test_a_wrong_stream_is_found_out(entries: list[Entry], wrong: str) -> None:
    assert getattr(_audit(entries), wrong)
