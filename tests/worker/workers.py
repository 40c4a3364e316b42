"""`python -m worker` as a process of its own, with what it says in a file."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from domain.configuration.settings import Settings
from tests import patience
from tests.patience import until
from tests.secrets import watching

ROOT = Path(__file__).parents[2]


@dataclass
class Worker:
    popen: "subprocess.Popen[bytes]"
    ready_file: Path
    log: Path

    @property
    def pids(self) -> list[int]:
        return list(json.loads(self.ready_file.read_text())["pids"])

    def get(self, path: str) -> str:
        url = json.loads(self.ready_file.read_text())["url"]
        with urllib.request.urlopen(url + path, timeout=patience.limit(5)) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def is_ok(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(json.loads(self.get("/health"))["status"] == "ok")
        return False

    def said(self) -> str:
        return self.log.read_text()


@contextlib.contextmanager
def working(settings: Settings, folder: Path, **variables: str) -> Iterator[Worker]:
    """A worker that is well, killed with all its processes at the end of the block."""
    log, ready_file = folder / "worker.log", folder / "ready.json"
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "BOTFARM_REDIS_PREFIX": settings.redis_prefix,
        "BOTFARM_SECRET_KEYS_FILE": settings.secret_keys_file or "",
        "BOTFARM_WORKER_PORT": "0",
        "BOTFARM_AUTH": "off",
        "BOTFARM_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        "TMPDIR": str(folder),
        **variables,
    }
    command = [sys.executable, "-m", "worker", "--ready-file", str(ready_file)]
    with log.open("ab") as output:
        popen = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    worker = Worker(popen, ready_file, log)
    try:
        until(worker.is_ok, seconds=30, what="the worker's health")
        yield worker
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(popen.pid).children():
                child.kill()
        popen.kill()
        popen.wait()
    assert list(watching.leaks_of_logs(worker.said())) == []
