"""The parts that are Python programs of ours."""

import contextlib
import http.client
from collections.abc import Mapping, Sequence
from pathlib import Path

from standalone.processes.parts import Part

PATIENCE_SECONDS = 3.0


class Program(Part):
    """A program that answers GET `path` at host and port with 200 once it does its work."""

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        address: tuple[str, int],
        path: str,
    ) -> None:
        super().__init__(name, log=log)
        self._command = command
        self._environment = environment
        self._address = address
        self._path = path

    def launch(self) -> None:
        if not self.alive:
            self._process.launch(self._command, environment=self._environment)

    def answers(self) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE_SECONDS)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", self._path)
            return connection.getresponse().status == http.client.OK
        return False
