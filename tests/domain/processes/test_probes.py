"""Background checks: a report reads the last finding, whatever the check does."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from domain.processes import probes
from domain.processes.probes import Probe


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PROBE_INTERVAL_SECONDS", 0.02)


@pytest.fixture
def answering() -> Iterator[threading.Event]:
    """Set while the check may return."""
    event = threading.Event()
    event.set()
    yield event
    event.set()


def until(probe: Probe, error: str | None) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if probe.finding().error == error:
            return True
        time.sleep(0.01)
    return False


def test_a_check_that_raises_is_a_finding_without_figures() -> None:
    def check() -> dict[str, Any]:
        raise ConnectionError

    probe = Probe("test", check)
    assert probe.finding().error == "not checked yet"
    probe.start()

    assert until(probe, "ConnectionError")
    assert probe.finding().figures is None
    probe.close()


def test_a_check_that_hangs_becomes_a_failure_and_recovers(
    answering: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "STALE_SECONDS", 0.5)

    def check() -> dict[str, Any]:
        answering.wait()
        return {"fine": True}

    probe = Probe("test", check)
    probe.start()
    assert until(probe, None)

    answering.clear()
    assert until(probe, "no answer")
    assert probe.finding().figures is None

    answering.set()
    assert until(probe, None)
    assert probe.finding().figures == {"fine": True}
    probe.close()


def test_a_probe_that_is_closed_checks_no_more() -> None:
    calls: list[None] = []

    def check() -> dict[str, Any]:
        calls.append(None)
        return {}

    probe = Probe("closing", check)
    probe.start()
    assert until(probe, None)

    probe.close()
    for thread in threading.enumerate():
        if thread.name == "probe-closing":
            thread.join(20)
    made = len(calls)
    time.sleep(0.1)

    assert len(calls) == made
