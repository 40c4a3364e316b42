"""`python -m worker` as an operator meets it: a supervisor with its processes, and what it says of itself."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from domain.configuration.settings import Settings
from tests import patience

ROOT = Path(__file__).parents[3]


@dataclass
class Supervised:
    """A supervisor with its processes."""

    popen: subprocess.Popen[str]
    ready_file: Path

    @property
    def ready(self) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            parsed: dict[str, Any] = json.loads(self.ready_file.read_text())
            return parsed
        return {}

    @property
    def pids(self) -> list[int]:
        return list(self.ready["pids"])

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.ready["url"] + path, timeout=patience.limit(5)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def health(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.get("/health")[1])
        return parsed

    def metric(self, name: str) -> float:
        lines = self.get("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def is_ok(self) -> bool:
        return bool(self.ready) and self.health()["status"] == "ok"

    def end(self) -> None:
        """Kill it with all its processes."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.popen.pid).children():
                child.kill()
        self.popen.kill()
        self.popen.communicate()


StartWorker = Callable[..., Supervised]


def start(settings: Settings, *, ready_file: Path, **variables: str) -> Supervised:
    command = [sys.executable, "-m", "worker", "--ready-file", str(ready_file)]
    popen = subprocess.Popen(
        command, cwd=ROOT, env=environment(settings, **variables), stderr=subprocess.PIPE, text=True
    )
    return Supervised(popen, ready_file)


def environment(settings: Settings, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "BOTFARM_REDIS_PREFIX": settings.redis_prefix,
        "BOTFARM_WORKER_PORT": "0",
        "TMPDIR": str(Path(settings.secret_keys_file or "").parent),  # a killed supervisor leaves its counters behind
        **more,
    }


def gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
