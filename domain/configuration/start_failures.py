"""How a program of ours tells people, in one line, why it cannot start."""

import sys
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from domain.configuration.settings import Settings


def tell(message: str) -> int:
    """Say it on stderr; the exit code of a failure."""
    sys.stderr.write(f"botfarm: {message}\n")
    return 1


def of_settings(error: ValidationError) -> str:
    """What is wrong with the settings, each fault with the variable that has it."""
    return "; ".join(map(_fault, error.errors()))


def of_database(error: SQLAlchemyError) -> str:
    """The database's own words, the first line of them."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(cause).strip().split("\n")[0]


def address(settings: Settings) -> str:
    """Which database is meant, without its password."""
    return make_url(settings.database_url).render_as_string(hide_password=True)


def _fault(found: Mapping[str, Any]) -> str:
    """A fault of several settings together names them in its message."""
    variables = [name if name.isupper() else f"BOTFARM_{name.upper()}" for name in map(str, found["loc"])]
    return ": ".join([*variables, found["msg"].removeprefix("Value error, ")])
