"""One `python -m standalone`, seen from outside."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests import patience
from tests.patience import eventually

READY_SECONDS = 60.0


def gone(pid: int) -> bool:
    """Ended; a zombie has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


Permissions = tuple[int, int, int]


def permissions(folders: Iterable[Path]) -> dict[Path, Permissions]:
    """Mode, owner and group of each."""
    return {folder: (status.st_mode, status.st_uid, status.st_gid) for folder in folders if (status := folder.stat())}


@dataclass
class Run:
    """One `python -m standalone`."""

    popen: subprocess.Popen[str]
    ready_file: Path
    found: dict[Path, Permissions]  # the folders it found, as they were

    def ready(self) -> dict[str, Any]:
        """The ready file, once it is there."""
        assert eventually(lambda: self.ready_file.exists() or self.popen.poll() is not None, seconds=READY_SECONDS)
        assert self.popen.poll() is None, self.popen.communicate()
        return self.ready_file_content()

    def ready_file_content(self) -> dict[str, Any]:
        """What the ready file says now."""
        told: dict[str, Any] = json.loads(self.ready_file.read_text())
        return told

    def data_dir(self) -> Path:
        """Valkey works in a folder of it."""
        return Path(psutil.Process(self.ready_file_content()["pids"]["valkey"]).cwd()).parent

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        out, err = self.popen.communicate(timeout=patience.limit(60))
        return self.popen.returncode, out, err

    def family(self) -> list[int]:
        """Every process of the run, grandchildren too."""
        return [self.popen.pid, *(child.pid for child in psutil.Process(self.popen.pid).children(recursive=True))]
