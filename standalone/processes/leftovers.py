"""Processes of an earlier run on the same data."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from standalone import files
from standalone.errors import StandaloneError
from standalone.processes import processes

END_SECONDS = 30.0


def await_end(program: str, *, folder: Path) -> None:
    """Wait until no such program works in the folder: after kill -9 of ours it needs a moment to end.

    Raises StandaloneError for one that stays: it is somebody's, and two on the same data would destroy it.
    """
    found = working_in(folder, program=program)
    if not processes.passes(lambda: all(map(processes.gone, found)), seconds=END_SECONDS):
        pids = " ".join(str(process.pid) for process in found if not processes.gone(process))
        raise StandaloneError(f"{folder} is in use by another {program}: stop it first (kill -INT {pids})")


def note(pids: Mapping[str, int | None], *, file: Path) -> None:
    """Write down which processes are ours, for a run that comes after our kill -9."""
    ours = {pid: _born(pid) for pid in pids.values() if pid is not None}
    files.write(file, json.dumps({str(pid): born for pid, born in ours.items() if born is not None}))


def noted(file: Path) -> list[psutil.Process]:
    """Which processes of an earlier run still live."""
    ours: dict[str, float] = json.loads(file.read_text(encoding="ascii")) if file.exists() else {}
    return [psutil.Process(int(pid)) for pid, born in ours.items() if _born(int(pid)) == born]


def see_out(living: Sequence[psutil.Process]) -> None:
    """Wait for them to end, since they were signalled when their run died. Those that do not end are killed."""
    if not processes.passes(lambda: all(map(processes.gone, living)), seconds=END_SECONDS):
        for process in living:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _born(pid: int) -> float | None:
    """When the process began: number and birth together are nobody else's."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).create_time()
    return None


def working_in(folder: Path, *, program: str) -> list[psutil.Process]:
    """The processes of that name in that folder, which both servers make their own."""
    return [process for process in psutil.process_iter(["name"]) if _works_in(process, folder, program)]


def _works_in(process: psutil.Process, folder: Path, program: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return process.info["name"] == program and Path(process.cwd()) == folder
    return False
