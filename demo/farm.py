"""The farm: 5,000 made-up users, loaded through the API."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from demo.errors import DemoError

FILE = Path(__file__).with_name("farm.csv")
BATCH_ROWS = 250
PAGE_ROWS = 1_000

Row = Mapping[str, Any]


@dataclass
class Farm:
    """The ids of the users that were `created` now, and of those that were there `already`."""

    created: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)

    @property
    def users(self) -> list[str]:
        return self.created + self.already


def rows(file: Path = FILE) -> list[Row]:
    """The users of the file, as the API takes them."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [_row(line) for line in csv.DictReader(lines)]


def load(http: httpx.Client, users: Sequence[Row], *, loaded: Callable[[int], object]) -> Farm:
    """Create the users, telling `loaded` how many it has been through. Raises DemoError when the API refuses one."""
    farm, taken = Farm(), set[str]()
    for first in range(0, len(users), BATCH_ROWS):
        batch = users[first : first + BATCH_ROWS]
        for row, result in zip(batch, _create(http, batch), strict=True):
            if result["status"] == HTTPStatus.CREATED:
                farm.created.append(result["user"]["id"])
            elif result["problem"]["type"].endswith(":login-taken"):
                taken.add(row["login"])
            else:
                raise DemoError(f"the API refuses user {row['login']}: {result['problem']['title']}")
        loaded(first + len(batch))
    farm.already += _ids(http, taken)
    return farm


def _row(line: Mapping[str, str]) -> Row:
    labels = dict(label.split("=", 1) for label in line["labels"].split(";") if label)
    return {name: value for name, value in line.items() if value and name != "labels"} | {"labels": labels}


def _create(http: httpx.Client, batch: Sequence[Row]) -> list[dict[str, Any]]:
    response = http.post("users/batch", json=batch)
    if response.status_code != HTTPStatus.OK:
        raise DemoError(f"the API answers {response.status_code} to a batch of users")
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def _ids(http: httpx.Client, logins: Iterable[str]) -> list[str]:
    """The ids of these logins, by reading the list to its end."""
    wanted, found = set(logins), list[str]()
    url: str | None = f"users/?limit={PAGE_ROWS}" if wanted else None
    while url is not None:
        page = http.get(url).raise_for_status()
        found += [user["id"] for user in page.json() if user["login"] in wanted]
        onward = page.links.get("next", {}).get("url")
        url = str(page.url.join(onward)) if onward else None
    return found
