"""The folder to which the processes of one supervisor write their metrics, for as long as the supervisor lives."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

YOUNG_SECONDS = 60.0  # a younger folder may not be locked yet


@contextlib.contextmanager
def folder(*, prefix: str) -> Iterator[str]:
    """A folder readable by this user only; `prefix` tells one kind of supervisor from another.

    First removes the folders of killed supervisors, which could not remove them. A supervisor holds a file lock on its
    folder, and the system releases that lock however the supervisor ends.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as made, _opened(Path(made)) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _remove_abandoned(Path(made), prefix=prefix)
        yield made


def _remove_abandoned(mine: Path, *, prefix: str) -> None:
    own = mine.stat()
    for other in mine.parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # locked by its supervisor, or removed meanwhile
            found = other.lstat()
            if found.st_uid == own.st_uid and found.st_mtime < own.st_mtime - YOUNG_SECONDS:
                with _opened(other) as held:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(other, ignore_errors=True)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
