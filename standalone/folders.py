"""The data folder: one run at a time, for good or for as long as it runs."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from standalone import accounts
from standalone.errors import StandaloneError
from standalone.servers import data_places

LOCK = "standalone.lock"
TEMPORARY = "botfarm-ephemeral-"
ABANDONED_SECONDS = 60.0


@contextlib.contextmanager
def lasting(path: Path) -> Iterator[Path]:
    """The folder at this path, made if missing, ours alone until the end. Raises StandaloneError when it is not."""
    folder = data_places.data_folder(path.resolve())
    with _locked(folder):
        yield folder


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A new folder that is gone at the end; those of runs that were killed are removed on the way."""
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY)).resolve()
    _sweep(beside=folder)
    if accounts.needed():
        folder.chmod(0o711)  # Postgres's user must pass through
    with _locked(folder):
        try:
            yield folder
        finally:
            _discard(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The kernel frees the lock when we end, however we end."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock.read().strip() or "unknown"
            raise StandaloneError(
                f"Botfarm already runs on {folder} (process {holder}): stop it, or choose another --data-dir"
            ) from None
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _sweep(*, beside: Path) -> None:
    """Remove the folders of runs that were killed. One without a lock yet may belong to a run that just begins."""
    abandoned_before = beside.stat().st_mtime - ABANDONED_SECONDS
    for folder in beside.parent.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError, StandaloneError):
            if folder.stat().st_uid == os.geteuid() and (folder / LOCK).stat().st_mtime < abandoned_before:
                with _locked(folder):
                    _discard(folder)


def _discard(folder: Path) -> None:
    data_places.discard(folder)
    shutil.rmtree(folder, ignore_errors=True)
