"""The table of docs/authorization.md: which calls there are, and what each answers to whom."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.keys import SCOPES
from tests.api.auth.keyrings import FOREIGN, OWN

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "authorization.md"
ROW = re.compile(r"\| `([A-Z]+) ([^`]+)`(?: with `(\w+)`)? \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
PROJECTS = {"own": OWN, "foreign": FOREIGN}
NO_PROJECT = "—"  # the call concerns none
OUTSIDERS = ("no key", "mistyped", "unknown", "expired", "revoked")


@dataclass(frozen=True)
class Row:
    """One call of the table; `answers` by project, as the table tells them."""

    call: str
    scopes: tuple[str, ...]
    answers: Mapping[str, str]

    def lets_in(self, scope: str) -> bool:
        return scope == "admin" or scope in self.scopes or self.scopes == ("any",)


@dataclass(frozen=True)
class Cell:
    """One row for a key of that scope, or an outsider, on something of its own project or a foreign one."""

    row: Row
    who: str
    where: str

    @property
    def expected(self) -> str:
        if self.row.scopes == ("none",):
            return "200"
        if self.who in OUTSIDERS:
            return "401"
        return self.row.answers[self.where] if self.row.lets_in(self.who) else "403"

    def __str__(self) -> str:
        return f"{self.row.call} as {self.who} on {self.where}"


def rows(text_: str) -> dict[str, Row]:
    """The table, by call."""
    found = {}
    for method, path, variant, scopes, own, foreign in ROW.findall(text_):
        call = f"{method} {path}" + (f" with {variant}" if variant else "")
        answers = {"own": own.strip(), "foreign": own.strip() if foreign.strip() == NO_PROJECT else foreign.strip()}
        found[call] = Row(call, tuple(scope.strip() for scope in scopes.split(",")), answers)
    return found


def cells(table: Mapping[str, Row]) -> list[Cell]:
    return [Cell(row, who, where) for row in table.values() for who in (*SCOPES, *OUTSIDERS) for where in PROJECTS]


def unlisted(document: Mapping[str, Any], table: Mapping[str, Row]) -> set[str]:
    """Calls that only one of the OpenAPI document and the table knows, or of which they do not say the same."""
    body = {
        f"{method.upper()} {path}": operation.get("security")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    listed = {call: row for call, row in table.items() if " with " not in call}
    differing = {call for call in body.keys() & listed.keys() if body[call] != _security(listed[call])}
    return (body.keys() ^ listed.keys()) | differing


def _security(row: Row) -> list[dict[str, list[str]]] | None:
    if row.scopes == ("none",):
        return None
    return [{"api_key": [] if row.scopes == ("any",) else list(row.scopes)}]
