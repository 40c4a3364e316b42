"""What no program of ours starts with: doors that stand open to others without anybody having said so."""

import ipaddress
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import URL, make_url

from domain.configuration.settings import Settings

# What images, tutorials and hurried people set. Besides these, a password that is the name of its user.
DEFAULT_PASSWORDS = frozenset(
    {
        "postgres",
        "password",
        "passw0rd",
        "botfarm",
        "secret",
        "changeme",
        "change-me",
        "admin",
        "root",
        "example",
        "test",
        "dev",
        "123456",
        "12345678",
    }
)
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def require(settings: Settings) -> None:
    """Raises ValueError, in one line for people, at the first thing that is not safe."""
    require_private_keys(settings.secret_keys_file)
    if settings.auth != "off":
        require_own_password(settings.database_url)


def require_own_password(database_url: str) -> None:
    """A default password is no password, once others can reach the database. Raises ValueError."""
    url = make_url(database_url)
    password = str(url.password or url.query.get("password", ""))
    if password.lower() not in DEFAULT_PASSWORDS and (not password or password != url.username):
        return
    foreign = [host for host in _hosts(url) if not _is_here(host)]
    if foreign:
        raise ValueError(
            f"the database at {foreign[0]} has a default password: give {url.username or 'its user'} another one,"
            " or say BOTFARM_AUTH=off if nobody else can reach this network"
        )


def require_private_keys(file: str | None) -> None:
    """A file of sealing keys is for its owner alone. Raises ValueError.

    A file of root's may be readable by the group through which we read it: so orchestrators hand secrets to programs
    that are not root.
    """
    if not file or not Path(file).exists():
        return
    found = Path(file).stat()
    granted = stat.S_IRGRP if found.st_uid == 0 != os.geteuid() else 0
    if found.st_mode & OTHERS & ~granted:
        raise ValueError(f"{file} holds sealing keys and is open to others: chmod 600 {file}")


def _hosts(url: URL) -> Sequence[str]:
    """All that libpq would try; none is a socket of this machine."""
    asked = url.query.get("host", ())
    listed = (asked,) if isinstance(asked, str) else asked
    return [host for item in (url.host or "", *listed) for host in item.split(",") if host]


def _is_here(host: str) -> bool:
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
