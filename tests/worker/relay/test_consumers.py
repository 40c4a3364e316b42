"""Consumers that others would write: in a group on plain redis-py and on FastStream, and the CloudEvents SDK."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from cloudevents.core.formats.json import JSONFormat

from tests.api.events.cloudevents import faults
from tests.patience import eventually
from tests.worker.farms import Farm, Outsider
from tests.worker.relay.turns import settle
from worker.relay.relay import Relay

MakeRelay = Callable[..., Relay]

READERS = Path(__file__).parent / "readers"
GROUP = "jobs"
EVENTS = 600
BATCH = 50


@dataclass
class Reader:
    """A reader's program, which may be killed and started again under another name."""

    command: list[str]
    file: Path
    popen: "subprocess.Popen[bytes] | None" = None

    def start(self, name: str, *options: str) -> None:
        self.popen = subprocess.Popen([*self.command, name, str(self.file), *options], cwd=READERS.parents[2])

    def kill(self) -> None:
        if self.popen is not None:
            self.popen.send_signal(signal.SIGKILL)
            self.popen.wait()
            self.popen = None

    def kill_in_the_middle_of_a_batch(self, unacknowledged: Callable[[], int]) -> None:
        """Stopped, it is looked at: one that has just come to the end of what it was given may go on a little."""

        def caught() -> bool:
            assert self.popen is not None
            self.popen.send_signal(signal.SIGSTOP)
            if unacknowledged() > 2:  # what it sent last may be under way
                return True
            self.popen.send_signal(signal.SIGCONT)
            return False

        assert eventually(caught, seconds=30)
        self.kill()

    @property
    def done(self) -> list[str]:
        """The cursors it has dealt with; a line that death cut short is none."""
        text = self.file.read_text() if self.file.exists() else ""
        return text[: text.rfind("\n") + 1].split()


@pytest.fixture(params=["plain.py", "with_faststream.py"])
def reader(request: pytest.FixtureRequest, redis_url: str, outsider: Outsider, tmp_path: Path) -> Iterator[Reader]:
    outsider.client.xgroup_create(outsider.key, GROUP, id="0", mkstream=True)
    reader = Reader([sys.executable, str(READERS / request.param), redis_url, outsider.key, GROUP], tmp_path / "done")
    yield reader
    reader.kill()


def _relaying(farm: Farm, relay: Relay) -> threading.Thread:
    """Changes that come to the stream while somebody reads."""

    def work() -> None:
        for _ in range(EVENTS // 200):
            farm.change(200)
            settle(relay)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def _unacknowledged(outsider: Outsider) -> int:
    return int(outsider.client.xpending(outsider.key, GROUP)["pending"])


def test_a_consumer_group_loses_nothing_when_a_consumer_is_killed(
    reader: Reader, farm: Farm, relay: Relay, outsider: Outsider
) -> None:
    reader.start("first")
    relaying = _relaying(farm, relay)

    assert eventually(lambda: len(reader.done) > 70, seconds=30)
    reader.kill_in_the_middle_of_a_batch(lambda: _unacknowledged(outsider))
    reader.start("second")
    relaying.join()

    assert eventually(lambda: len(set(reader.done)) == EVENTS, seconds=30), len(set(reader.done))
    assert eventually(lambda: _unacknowledged(outsider) == 0)
    assert set(reader.done) == set(outsider.cursors())
    assert len(reader.done) <= EVENTS + BATCH  # some come again, at most those that were given and not acknowledged


def test_a_consumer_that_never_claims_what_a_dead_one_was_given_would_be_found_out(
    reader: Reader, farm: Farm, relay: Relay, outsider: Outsider
) -> None:
    reader.start("first")
    relaying = _relaying(farm, relay)
    assert eventually(lambda: len(reader.done) > 70, seconds=30)
    reader.kill_in_the_middle_of_a_batch(lambda: _unacknowledged(outsider))
    reader.start("second", "--no-claim")
    relaying.join()

    assert eventually(lambda: outsider.cursors()[-1] in reader.done, seconds=30)
    assert set(reader.done) < set(outsider.cursors())


def test_the_cloudevents_sdk_reads_every_event(farm: Farm, relay: Relay, outsider: Outsider) -> None:
    farm.change(9)
    farm.grow()
    settle(relay)

    for cursor, body in outsider.entries():
        answer = json.loads(body)
        event = JSONFormat().read(None, body)
        assert faults(answer) == []
        assert (event.get_specversion(), event.get_type()) == ("1.0", answer["type"])
        assert (event.get_source(), event.get_id()) == ("/botfarm", answer["id"])
        assert event.get_subject() == f"users/{answer['partitionkey']}"
        assert event.get_time() == datetime.fromisoformat(answer["time"])
        assert event.get_data() == answer["data"]
        assert event.get_extension("cursor") == cursor
        assert event.get_extension("lockversion") == answer["lockversion"]
    assert {json.loads(body)["type"].split(".")[2] for _, body in outsider.entries()} == {
        "created",
        "acquired",
        "released",
    }


def test_the_cloudevents_sdk_refuses_what_is_no_event(farm: Farm, relay: Relay, outsider: Outsider) -> None:
    farm.change(1)
    settle(relay)
    body = json.loads(outsider.entries()[0][1])

    with pytest.raises(Exception, match="source"):
        JSONFormat().read(None, json.dumps({name: value for name, value in body.items() if name != "source"}))
