"""The feed and the stream of events: what may be asked of them."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from api.schemas.fields import (
    Printable,
    Slug,
)
from api.schemas.input import Input
from domain.events.feed import Filter


class StreamQuery(Input):
    after: Annotated[str | None, Field(max_length=40, description="A cursor, or `latest`")] = None
    type: list[Annotated[Printable, StringConstraints(max_length=100)]] = []
    user_id: UUID | None = None
    project_id: UUID | None = None
    env: Slug | None = None

    @property
    def by(self) -> Filter:
        return Filter(tuple(self.type), self.user_id, self.project_id, self.env)


class EventsQuery(StreamQuery):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    wait_seconds: Annotated[int, Field(ge=0, le=60, description="Wait so long for a first event")] = 0
