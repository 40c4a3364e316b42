"""Totals of the farm."""

from typing import Self
from uuid import UUID

from pydantic import BaseModel

from api.schemas.output import fields_of
from domain.statistics import Total


class TotalOut(BaseModel):
    """Users of one project, env and domain, and requests in line that name exactly these."""

    project_id: UUID | None
    env: str | None
    domain: str | None
    users: int
    free: int
    locked: int
    quarantined: int
    cooling: int
    waiting: int

    @classmethod
    def of(cls, total: Total) -> Self:
        return cls.model_validate(fields_of(total))


class StatsOut(BaseModel):
    totals: list[TotalOut]
