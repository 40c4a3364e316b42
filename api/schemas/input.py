"""What callers send, as Pydantic models: one source of the OpenAPI document."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.schemas.fields import (
    Printable,
)

DAY_SECONDS = 86_400
WEEK_SECONDS = 7 * DAY_SECONDS


class Input(BaseModel):
    """Whatever is not known is refused: a misspelt field must not be silently without effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ForceQuery(Input):
    """The lock of another principal ends only by force, and force needs a reason."""

    force: Annotated[bool, Field(description="End what another principal holds; needs a reason and scope admin")] = (
        False
    )
    reason: Annotated[Printable | None, StringConstraints(min_length=1, max_length=500)] = None

    @model_validator(mode="after")
    def _force_has_a_reason(self) -> Self:
        if self.force != (self.reason is not None):
            raise ValueError("force needs a reason, and a reason needs force")
        return self


class RotateIn(Input):
    overlap_seconds: Annotated[
        int, Field(strict=True, ge=0, le=WEEK_SECONDS, description="So long the old one is good too")
    ] = DAY_SECONDS

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


class LimitQuery(Input):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
