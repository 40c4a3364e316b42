"""The cursor of an event: `<epoch>-<seq>`, the same string on the Redis Stream, over SSE and over HTTP."""

import re
from dataclasses import dataclass
from typing import Self

from domain.errors import CursorMalformed

FORM = re.compile(r"(0|[1-9][0-9]{0,8})-(0|[1-9][0-9]{0,17})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the one order of events; `seq` 0 is before the first."""

    epoch: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises CursorMalformed for anything that is not a cursor."""
        match = FORM.fullmatch(text)
        if match is None:
            raise CursorMalformed(text)
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"
