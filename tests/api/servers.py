"""The API as its callers meet it: an app on a real socket, or `python -m api` as a process of its own."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from starlette.types import ASGIApp

from api.serving.protocol import Protocol
from api.serving.server import config
from domain.configuration.settings import Settings
from standalone import ports
from tests.patience import eventually

SOURCES = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0  # a busy machine takes one of them to start a process


@contextlib.contextmanager
def serving(app: ASGIApp, *, http: type[asyncio.Protocol] = Protocol) -> Iterator[str]:
    """The app's address while it is served in a thread, as it always is, on a port the system has picked.

    `http` is how bytes become calls: another one than ours shows what ours is for.
    """
    settings = config(app, host="127.0.0.1", port=0)
    settings.http = http
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        assert eventually(lambda: server.started or not thread.is_alive(), seconds=START_SECONDS)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
        assert not thread.is_alive()


def environment(settings: Settings) -> dict[str, str]:
    """What makes a process of its own run with these settings, and with no other of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOTFARM_")}
    return kept | {
        "PYTHONPATH": str(SOURCES),
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "BOTFARM_REDIS_PREFIX": settings.redis_prefix,
        "BOTFARM_SECRET_KEYS_FILE": settings.secret_keys_file or "",
        "BOTFARM_PORT": str(settings.port),
        "BOTFARM_API_WORKERS": "1",  # most of what is tested is one process's doing, whatever machine this is
        "BOTFARM_AUTH": "off",  # said, for the tests' database may have a default password elsewhere
    }


@dataclass
class ApiProcess:
    """`python -m api`, with what it says in `log`; it may be started again after every end, on the same port."""

    settings: Settings
    log: Path
    popen: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.settings = self.settings.model_copy(update={"port": self.settings.port or ports.free()})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def running(self) -> "subprocess.Popen[bytes]":
        assert self.popen is not None
        return self.popen

    def launch(self, **variables: str) -> None:
        """Start it without waiting; `variables` are added to its environment."""
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "api"],
                cwd=self.log.parent,
                env=environment(self.settings) | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def start(self) -> None:
        """Return when it is ready to serve."""
        self.launch()
        assert eventually(lambda: self.ready() or not self.alive(), seconds=START_SECONDS)
        assert self.alive(), self.said()

    def ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz").status_code == 200
        return False

    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def kill(self) -> None:
        """SIGKILL, as the kernel would when memory is out."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    def said(self) -> str:
        return self.log.read_text()
