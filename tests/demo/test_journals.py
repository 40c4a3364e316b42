"""What was acknowledged stays written."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from demo.journals import Entry, Journal, Journals

ENTRY = Entry("alice", "acquire", "acquired", "ada", "L", 1.0, 2.0, 3, 4, 5)

KILLED_AFTER_WRITING = """
import os, pathlib, signal, sys
from demo.journals import Entry, Journal
Journal(pathlib.Path(sys.argv[1])).write(Entry("alice", "acquire", "acquired", "ada", "L", 1.0, 2.0, 3, 4, 5))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_line_survives_the_kill_of_its_writer(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED_AFTER_WRITING, str(tmp_path / "1.jsonl")], check=False)

    assert ended.returncode == -9
    assert Journals(tmp_path).read() == [ENTRY]


def test_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    journal, journals = Journal(tmp_path / "1.jsonl"), Journals(tmp_path)
    another = replace(ENTRY, outcome="again")

    journal.write(ENTRY)
    journals.read()
    journal.write(another)
    Journal(tmp_path / "2.jsonl").write(ENTRY)

    assert journals.read() == [ENTRY, another, ENTRY]
    assert journals.read() == [ENTRY, another, ENTRY]


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    whole, growing, journals = tmp_path / "whole", tmp_path / "1.jsonl", Journals(tmp_path)
    Journal(whole).write(ENTRY)
    line = whole.read_bytes()

    growing.write_bytes(line + line[:20])
    first = list(journals.read())
    growing.write_bytes(line + line)
    second = list(journals.read())

    assert first == [ENTRY]
    assert second == [ENTRY, ENTRY]
