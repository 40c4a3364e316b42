"""Logs are one JSON object a line, whoever logs, and secrets never reach them."""

import json
import logging
from typing import Any

import pytest
import structlog

from domain import log

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

    with structlog.contextvars.bound_contextvars(**{field: "s3cret", "request_id": "r1"}):
        log.get("tests").info("request")

    (line,) = lines(capsys)
    assert (line[field], line["request_id"]) == ("[secret]", "r1")


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


def test_what_lies_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_people_get_a_line_to_read(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure(level="INFO", style="console")

    log.get("tests").info("lock_acquired", password="s3cret")

    told = capsys.readouterr().err
    assert "lock_acquired" in told
    assert "s3cret" not in told
