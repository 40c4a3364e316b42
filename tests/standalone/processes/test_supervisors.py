import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from standalone.errors import StandaloneError
from standalone.processes.parts import Part
from standalone.processes.supervisors import Patience, Supervisor
from tests.patience import eventually

SLEEP = "import time; time.sleep(60)"
DIE = "import sys; print('what went wrong'); sys.exit(3)"


class StandIn(Part):
    """Runs a line of Python; each start is counted."""

    def __init__(self, name: str, *, code: str, folder: Path) -> None:
        super().__init__(name, log=folder / f"{name}.log")
        self.code = code
        self.starts = 0

    def launch(self) -> None:
        self.starts += 1
        self._process.launch([sys.executable, "-S", "-c", self.code])

    def answers(self) -> bool:
        return self.alive


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[Callable[..., StandIn]]:
    made: list[StandIn] = []

    def make(name: str, *, code: str) -> StandIn:
        made.append(StandIn(name, code=code, folder=tmp_path))
        return made[-1]

    yield make
    for part in made:
        part.kill()


def tended(supervisor: Supervisor, *, until: Callable[[], bool]) -> bool:
    def tend_and_look() -> bool:
        supervisor.tend()
        return until()

    return eventually(tend_and_look, seconds=10)


def test_a_part_that_dies_once_is_started_again(stand_in: Callable[..., StandIn]) -> None:
    part, changes = stand_in("part", code=SLEEP), threading.Event()
    part.launch()
    supervisor = Supervisor([part], changed=changes.set, patience=Patience(pause_seconds=0.01))

    part.kill()
    assert tended(supervisor, until=changes.is_set)

    assert part.alive
    assert part.starts == 2


def test_a_part_that_keeps_dying_is_given_up_with_its_log(stand_in: Callable[..., StandIn]) -> None:
    part, bystander = stand_in("part", code=DIE), stand_in("bystander", code=SLEEP)
    bystander.launch()
    part.launch()
    patience = Patience(restarts=2, pause_seconds=0.01)

    with pytest.raises(StandaloneError, match=r"part died for good: 3 times within 60 s \(exit code 3\)") as failure:
        Supervisor([part, bystander], changed=lambda: None, patience=patience).watch()

    assert part.starts == 3
    assert bystander.starts == 1
    assert failure.value.log_lines == ("what went wrong",)


def test_deaths_long_ago_are_forgotten(stand_in: Callable[..., StandIn]) -> None:
    part = stand_in("part", code=DIE)
    part.launch()
    patience = Patience(restarts=1, window_seconds=0.0, pause_seconds=0.01)
    supervisor = Supervisor([part], changed=lambda: None, patience=patience)

    assert tended(supervisor, until=lambda: part.starts >= 4)


def test_a_part_that_cannot_even_be_launched_is_given_up_too(stand_in: Callable[..., StandIn]) -> None:
    part = stand_in("part", code=DIE)
    part.launch()

    def refuse() -> None:
        raise StandaloneError("no")

    part.launch = refuse  # type: ignore[method-assign]

    with pytest.raises(StandaloneError, match="part died for good"):
        Supervisor([part], changed=lambda: None, patience=Patience(restarts=2, pause_seconds=0.01)).watch()


def test_pauses_double(stand_in: Callable[..., StandIn], capsys: pytest.CaptureFixture[str]) -> None:
    part = stand_in("part", code=DIE)
    part.launch()

    with pytest.raises(StandaloneError):
        Supervisor([part], changed=lambda: None, patience=Patience(restarts=3, pause_seconds=0.1)).watch()

    assert [line.split()[-2] for line in capsys.readouterr().out.splitlines()] == ["0.1", "0.2", "0.4"]
