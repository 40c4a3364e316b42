"""Where the Postgres data lies, and who may reach it.

It belongs in the data folder. Run by root, Postgres runs as another user, and a closed home above the data folder (mode
700) keeps that user out; opening the home would be worse than keeping the data elsewhere. `postgres.path` in the data
folder then names the place, so that it is found again whatever is opened or closed later.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from standalone import accounts
from standalone.accounts import Account
from standalone.errors import StandaloneError
from standalone.processes import processes

STABLE_BASES = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108  -- checked to be ours before use
OWNER_NOTE = "data-folder"  # in a place elsewhere: which data folder it belongs to


@dataclass(frozen=True)
class DataFolder:
    """The folder that Postgres owns, and as whom it runs; None means as ourselves."""

    home: Path
    account: Account | None


def settle(data_dir: Path) -> DataFolder:
    """Find the place of this data folder, or make one. Raises StandaloneError when the data cannot be reached."""
    note, home = _noted(data_dir)
    if home.exists():
        return _existing(home)
    if note.exists():
        raise StandaloneError(f"the Postgres data {home} is gone: bring it back, or delete {data_dir} to start over")
    if not accounts.needed():
        home.mkdir(mode=0o700)
        return DataFolder(home=home, account=None)
    account = accounts.unprivileged()
    if not reaches(account, data_dir):
        home = _elsewhere(data_dir, account=account)
        note.write_text(str(home), encoding="utf-8")
    return DataFolder(home=_given(home, account), account=account)


def reaches(account: Account, folder: Path) -> bool:
    """Whether that user can enter the folder: asked of the kernel, which knows every rule."""
    entering = processes.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)], account=account, folder=Path("/"))
    return entering.returncode == 0


def base(account: Account, *, within: Path | None = None) -> Path:
    """A folder of ours that everybody may pass through and nobody else may write. Raises StandaloneError."""
    temporary = Path(tempfile.gettempdir()).resolve()
    bases = (temporary, *STABLE_BASES) if within and within.is_relative_to(temporary) else STABLE_BASES
    for parent in bases:
        folder = parent / "botfarm"
        with contextlib.suppress(OSError):
            made(folder, mode=0o711)
            if _only_ours(folder) and reaches(account, folder):
                return folder
    raise StandaloneError(f"no folder that {account.name} can reach and that is ours: {', '.join(map(str, bases))}")


def data_folder(path: Path) -> Path:
    """The data folder itself, made if missing. Where Postgres is another user, that user may pass through it."""
    return made(path, mode=0o711 if accounts.needed() else 0o700)


def made(folder: Path, *, mode: int) -> Path:
    """The folder, made with this mode if it was missing. An existing one is left as it is."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(mode)  # past the umask; it is ours, and new
    return folder


def discard(data_dir: Path) -> None:
    """Delete the Postgres data of this data folder, wherever it lies, and what leads to it."""
    note, home = _noted(data_dir)
    elsewhere = (home.parent / OWNER_NOTE).exists()
    shutil.rmtree(home.parent if elsewhere else home, ignore_errors=True)
    for file in (note, data_dir / "postgres.password"):
        file.unlink(missing_ok=True)


def _noted(data_dir: Path) -> tuple[Path, Path]:
    """The note of this data folder, there or not, and the place that follows."""
    note = data_dir / "postgres.path"
    return note, Path(note.read_text(encoding="utf-8")) if note.exists() else data_dir / "postgres"


def _existing(home: Path) -> DataFolder:
    if not accounts.needed():
        if home.stat().st_uid != os.geteuid():
            raise StandaloneError(f"{home} belongs to {accounts.owner(home).name}: run as that user, or as root")
        return DataFolder(home=home, account=None)
    account = accounts.owner(home)
    if account.uid == 0:  # made, and interrupted before it was given away
        account = accounts.unprivileged()
        _given(home, account)
    if not reaches(account, home):
        raise StandaloneError(f"{account.name}, who runs Postgres, cannot reach {home}: open the folders above to it")
    return DataFolder(home=home, account=account)


def _given(home: Path, account: Account) -> Path:
    home.mkdir(mode=0o700, exist_ok=True)
    if any(home.iterdir()):
        raise StandaloneError(f"{home} belongs to root, and Postgres cannot run as root")
    os.chown(home, account.uid, account.gid)
    return home


def _elsewhere(data_dir: Path, *, account: Account) -> Path:
    """A new place whose name follows from the data folder's; a number is added when an older one is still there."""
    folder = base(account, within=data_dir)
    _sweep(folder)
    name = f"{data_dir.name.strip('.')}-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]}"
    names = [name, *(f"{name}-{number}" for number in range(2, 1_000))]
    place = next(folder / name for name in names if not (folder / name).exists())
    made(place, mode=0o711)
    (place / OWNER_NOTE).write_text(str(data_dir), encoding="utf-8")
    return place / "postgres"


def _sweep(folder: Path) -> None:
    """Remove what temporary data folders left behind: tests delete theirs, and know of no other place."""
    if not folder.is_relative_to(Path(tempfile.gettempdir()).resolve()):
        return
    for note in folder.glob(f"*/{OWNER_NOTE}"):
        with contextlib.suppress(OSError):
            if not Path(note.read_text(encoding="utf-8")).exists():
                shutil.rmtree(note.parent)


def _only_ours(folder: Path) -> bool:
    """In a folder open to all, somebody may have been there first."""
    status = folder.lstat()
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not others_write
