"""What the parts of Botfarm have in common: each is a process that can be started, asked, stopped and killed."""

import abc
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from standalone.errors import StandaloneError
from standalone.processes import processes


class Part(abc.ABC):
    """A process that Botfarm consists of, with its output in `log`; it may be started again after every end."""

    start_seconds: ClassVar[float] = 60.0
    stop_seconds: ClassVar[Mapping[signal.Signals, float]] = {signal.SIGTERM: 15.0}  # sent in turn, then SIGKILL
    parting_signal: ClassVar[signal.Signals] = signal.SIGTERM  # what it gets when this process dies

    def __init__(self, name: str, *, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = processes.Process(name, log=log, parting_signal=self.parting_signal)

    @abc.abstractmethod
    def launch(self) -> None:
        """Start it unless it runs, without waiting for an answer."""

    @abc.abstractmethod
    def answers(self) -> bool:
        """Whether it does its work now."""

    @property
    def alive(self) -> bool:
        return self._process.alive

    @property
    def pid(self) -> int:
        """Raises StandaloneError while it does not run."""
        return self._process.pid

    @property
    def living_pid(self) -> int | None:
        """None while it does not run."""
        return self._process.living_pid

    @property
    def ending(self) -> str:
        """How it ended, for a person."""
        return self._process.ending

    def start(self) -> None:
        """Return when it answers. Raises StandaloneError with the log's last lines."""
        self.launch()
        try:
            self.await_answer()
        except StandaloneError:
            self.kill()
            raise

    def await_answer(self) -> None:
        """Raises StandaloneError when it ends instead, or takes too long."""
        if not processes.passes(lambda: self.answers() or not self.alive, seconds=self.start_seconds):
            raise self.failure(f"did not answer within {self.start_seconds:.0f} s")
        if not self.alive:
            raise self.failure(f"ended at once ({self.ending})")

    def failure(self, what: str) -> StandaloneError:
        """What happened to it, with the end of its log."""
        return StandaloneError(f"{self.name} {what}; its log is {self.log}", log_lines=self._process.last_lines())

    def stop(self) -> None:
        """End it gracefully, or kill it when that takes too long."""
        self._process.stop(by=self.stop_seconds)

    def kill(self) -> None:
        """SIGKILL, as if the power had failed; returns when its children have gone too."""
        self._process.kill()


class Server(Part):
    """A part that keeps data and listens on the loopback; port 0 means any free one, chosen at the first start.

    Port and data outlive `stop` and `kill`.
    """

    def __init__(self, name: str, *, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir.resolve()
        self._port = port
        super().__init__(name, log=self.data_dir / "logs" / f"{name.lower()}.log")

    @property
    def port(self) -> int:
        """0 until the first start with any port."""
        return self._port
