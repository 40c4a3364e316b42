"""The folder in which API processes leave what they have counted, for as long as their parent lives."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "botfarm-api-"
YOUNG_SECONDS = 60.0  # younger ones may just be made


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """A folder for this user alone. Those whose parents were killed, and could not remove them, are removed first.

    A parent holds a lock on its folder, which ends with it however it ends.
    """
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as made, _opened(Path(made)) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _remove_old(beside=Path(made))
        yield made


def _remove_old(*, beside: Path) -> None:
    mine = beside.stat()
    for other in beside.parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another parent's, in use or removed by now
            found = other.lstat()
            if found.st_uid == mine.st_uid and found.st_mtime < mine.st_mtime - YOUNG_SECONDS:
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
