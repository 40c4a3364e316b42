"""Who is calling."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller's name, and the projects it is limited to; None is all."""

    name: str
    projects: Collection[UUID] | None = None
    sees_only: str | None = None  # the principal whose requests it may look at; None is all


ANONYMOUS = Principal("anonymous")


async def identify() -> Principal:
    """With authentication off every caller is the same principal."""
    return ANONYMOUS


Caller = Annotated[Principal, Depends(identify)]
