"""Events as a consumer reads them, off the stream or off the feed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

GRANT = "acquired"
CHANGES = frozenset({GRANT, "renewed", "released"})


@dataclass(frozen=True, slots=True)
class Event:
    """What the ledger needs of one CloudEvent. Times are seconds since 1970 by the database's clock.

    `kind` is `created` or `acquired` where the type is `botfarm.user.created.v1` or `botfarm.lock.acquired.v1`.
    `read_at` is by the clock of the machine that read it.
    """

    cursor: str
    id: str
    kind: str
    user: str
    version: int
    time: float
    owner: str = ""
    token: int = 0
    granted_at: float = 0.0
    expires_at: float = 0.0
    read_at: float = 0.0

    @property
    def seq(self) -> int:
        """The number after the epoch; it has no gaps, across epochs too."""
        return int(self.cursor.split("-")[1])

    @property
    def place(self) -> tuple[int, int]:
        epoch, seq = self.cursor.split("-")
        return int(epoch), int(seq)

    @classmethod
    def parse(cls, raw: Mapping[str, Any], *, read_at: float = 0.0) -> Self:
        """Raises KeyError, TypeError or ValueError for what is not an event of Botfarm."""
        data = raw["data"]
        return cls(
            cursor=raw["cursor"],
            id=raw["id"],
            kind=raw["type"].split(".")[-2],
            user=raw["partitionkey"],
            version=raw.get("lockversion", 0),
            time=_seconds(raw["time"]),
            owner=data.get("owner") or "",
            token=data.get("token") or 0,
            granted_at=_seconds(data.get("locktime")),
            expires_at=_seconds(data.get("expires_at")),
            read_at=read_at,
        )


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0
