"""Requests in the waiting line: what is answered."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from api.schemas.output import fields_of
from api.schemas.timestamps import Timestamp
from domain.requests import Queued


class HolderOut(BaseModel):
    user_id: UUID
    login: str
    owner: str
    expires_at: Timestamp


class RequestOut(BaseModel):
    """A request for users. `position` 1 is next among those that ask for the same; null once it is granted.

    `detached` requests keep their place for 15 s after their last call, and are not granted meanwhile.
    """

    request_id: UUID
    principal: str
    owner: str
    state: Literal["waiting", "detached", "granted"]
    position: int | None
    priority: int
    user_id: UUID | None
    project_id: UUID | None
    env: str | None
    domain: str | None
    labels: dict[str, str]
    count: int
    created_at: Timestamp
    waited_seconds: float
    matching: Annotated[int | None, Field(description="Active users that match, whatever their locks")] = None
    holders: list[HolderOut] = []

    @classmethod
    def of(cls, queued: Queued) -> Self:
        fields = fields_of(queued)
        holders = [HolderOut.model_validate(fields_of(holder)) for holder in queued.holders]
        return cls.model_validate(fields | {"count": queued.wanted, "holders": holders})
