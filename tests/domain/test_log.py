"""Logs are one JSON object per line from every logger, and never hold secrets."""

import contextvars
import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from domain import log

TIME = re.compile(r'"timestamp": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"')

pytestmark = pytest.mark.usefixtures("logging_restored")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_the_event_its_fields_level_logger_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="INFO", style="json")

    log.get("tests.somewhere").info("lock_acquired", user_id="u1", token=7)

    (line,) = lines(capsys)
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert line == {
        "event": "lock_acquired",
        "user_id": "u1",
        "token": 7,
        "level": "info",
        "logger": "tests.somewhere",
    }


@pytest.mark.parametrize("field", sorted(log.SECRET_FIELDS))
def test_a_secret_passed_by_mistake_is_not_logged(capsys: pytest.CaptureFixture[str], field: str) -> None:
    log.configure(level="INFO", style="json")

    log.get("tests").info("request", **{field: "s3cret"}, path="/")

    (line,) = lines(capsys)
    assert line[field] == "[secret]"
    assert line["path"] == "/"


@pytest.mark.parametrize("field", ["password", "lease_id", "authorization"])
def test_a_secret_bound_to_the_context_is_not_logged(capsys: pytest.CaptureFixture[str], field: str) -> None:
    log.configure(level="INFO", style="json")

    def logging_it() -> None:
        log.bind(**{field: "s3cret", "request_id": "r1"})
        log.get("tests").info("request")

    contextvars.copy_context().run(logging_it)

    (line,) = lines(capsys)
    assert (line[field], line["request_id"]) == ("[secret]", "r1")


FIELDS: dict[str, str | float] = {
    "method": "POST",
    "route": '/a"b\\c\n\x00é\ud800/{id}',
    "status": 200,
    "ms": 1.25,
    "tiny": 1e-7,
    "text": "",
}


def both_ways(**bound: str) -> None:
    log.bind(**bound)
    log.get("tests.access").info("http_request", **FIELDS)
    log.Routine("tests.access", event="http_request").info(**FIELDS)


@pytest.mark.parametrize("bound", [{}, {"request_id": "r1"}], ids=["alone", "bound"])
def test_a_routine_line_equals_one_of_structlog_except_for_its_time(
    capsys: pytest.CaptureFixture[str], bound: dict[str, str]
) -> None:
    log.configure(level="INFO", style="json")

    contextvars.copy_context().run(both_ways, **bound)

    written = [TIME.sub('"timestamp": 0', line) for line in capsys.readouterr().err.splitlines()]
    assert log.Routine.short_cut
    assert len(written) == 2
    assert written[0] == written[1]
    assert json.loads(written[1])["route"] == FIELDS["route"]


@pytest.mark.parametrize(("level", "style", "expected"), [("WARNING", "json", 0), ("INFO", "console", 2)])
def test_a_routine_line_respects_level_and_style(
    capsys: pytest.CaptureFixture[str], level: str, style: str, expected: int
) -> None:
    log.configure(level=level, style=style)

    contextvars.copy_context().run(both_ways)

    assert capsys.readouterr().err.count("http_request") == expected
    assert not log.Routine.short_cut


def test_the_standard_librarys_loggers_write_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="INFO", style="json")

    logging.getLogger("somebody.else").warning("disk %s is full", "sda")

    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("disk sda is full", "warning", "somebody.else")


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="INFO", style="json")

    try:
        int("broken")
    except ValueError:
        log.get("tests").exception("failed")

    (line,) = lines(capsys)
    assert line["level"] == "error"
    assert "ValueError: invalid literal" in line["exception"]


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="WARNING", style="json")

    log.get("tests").info("detail")
    logging.getLogger("somebody.else").info("detail")
    log.get("tests").warning("trouble")

    assert [line["event"] for line in lines(capsys)] == ["trouble"]


def test_configuring_twice_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="INFO", style="json")
    log.configure(level="INFO", style="json")

    log.get("tests").info("once")
    logging.getLogger("somebody.else").info("once")

    assert len(lines(capsys)) == 2


def test_the_console_style_writes_a_readable_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="INFO", style="console")

    log.get("tests").info("lock_acquired", password="s3cret")

    written = capsys.readouterr().err
    assert "lock_acquired" in written
    assert "s3cret" not in written


def test_a_scribe_writes_every_line_in_order_and_delays_no_caller() -> None:
    paper = SlowPaper()
    scribe = log.Scribe(paper)

    began = time.monotonic()
    for number in range(1_000):
        scribe.write(f"{number}\n")
    written = time.monotonic() - began
    scribe.drain()

    assert written < paper.seconds
    assert "".join(paper.sheets) == "".join(f"{number}\n" for number in range(1_000))


def test_a_reader_that_stalls_loses_only_the_oldest_lines() -> None:
    paper = SlowPaper()
    scribe = log.Scribe(paper, most=3)
    scribe.write("first\n")
    time.sleep(0.1)  # its writing has begun, and takes long

    for number in range(10):
        scribe.write(f"{number}\n")
    scribe.drain()

    assert "".join(paper.sheets) == "first\n7\n8\n9\n"


def test_logged_lines_are_written_when_the_process_ends() -> None:
    program = """
import sys
from domain import log
log.configure(level="INFO", style="json", stream=log.Scribe(sys.stderr))
for number in range(500):
    log.get("x").info("written", number=number)
sys.exit(3)
"""

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 3
    assert [json.loads(line)["number"] for line in ended.stderr.splitlines()] == list(range(500))


def test_lines_of_processes_that_share_a_pipe_stay_whole() -> None:
    program = """
import sys
from domain import log
scribe = log.Scribe(sys.stderr)
for number in range(3_000):
    scribe.write(sys.argv[1] * (1 + number * 37 % 500) + chr(10))
"""
    reading, writing = os.pipe()
    processes = [subprocess.Popen([sys.executable, "-c", program, mark], stderr=writing) for mark in "ab"]
    os.close(writing)
    time.sleep(1)  # until the pipe is full, and both wait to write

    with os.fdopen(reading) as pipe:
        said = pipe.read().splitlines()

    assert [process.wait() for process in processes] == [0, 0]
    assert len(said) == 2 * 3_000
    assert {len(set(line)) for line in said} == {1}, "no line has something of both"


class SlowPaper(io.StringIO):
    """A reader that takes half a second for what it is given."""

    seconds = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.sheets = list[str]()

    def write(self, text: str) -> int:
        time.sleep(self.seconds)
        self.sheets.append(text)
        return len(text)
