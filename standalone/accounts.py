"""Under which account Postgres runs, which refuses to run as root."""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from standalone.errors import StandaloneError

UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int


def needed() -> bool:
    """Whether Postgres must run under another account than ours."""
    return os.geteuid() == 0


def unprivileged() -> Account:
    """An account every system already has. Raises StandaloneError where there is none."""
    for name in UNPRIVILEGED:
        try:
            return _account(pwd.getpwnam(name))
        except KeyError:
            continue
    raise StandaloneError(f"Postgres cannot run as root, and there is no user {' or '.join(UNPRIVILEGED)}")


def owner(path: Path) -> Account:
    """Whose folder this is. Raises StandaloneError for a user the system does not know."""
    uid = path.stat().st_uid
    try:
        return _account(pwd.getpwuid(uid))
    except KeyError:
        raise StandaloneError(f"{path} belongs to the unknown user {uid}") from None


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
