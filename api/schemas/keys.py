"""API keys and the caller itself: what is sent and what is answered."""

from collections.abc import Sequence
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.auth.principals import Principal
from api.schemas.fields import Moment, Printable
from api.schemas.input import Input
from api.schemas.timestamps import Timestamp
from domain.keys import SCOPES, Key, Scope

LOCKS_MOST = 1_000_000


def _each_once(scopes: Sequence[Scope]) -> Sequence[Scope]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("must not repeat a scope")
    return scopes


Name = Annotated[
    Printable,
    StringConstraints(min_length=1, max_length=100),
    Field(description="The principal: who holds the locks taken with this key"),
]
Scopes = Annotated[list[Scope], Field(min_length=1), AfterValidator(_each_once)]
Projects = Annotated[list[UUID], Field(min_length=1, max_length=1_000)]


class KeyIn(Input):
    """A key for one principal. What is left out does not limit it."""

    name: Name
    scopes: Scopes
    projects: Annotated[Projects | None, Field(description="The only projects it sees and touches")] = None
    locks_most: Annotated[
        int | None, Field(strict=True, ge=1, le=LOCKS_MOST, description="How many locks it may hold at once")
    ] = None
    expires_at: Annotated[Moment | None, Field(description="From then on it is refused")] = None


class KeysQuery(Input):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    after: Annotated[UUID | None, Field(description="Keys beyond this id")] = None


class KeyOut(BaseModel):
    """Never the key itself: `hint` is how it begins."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    hint: str
    scopes: list[Scope]
    projects: list[UUID] | None
    locks_most: int | None
    created_at: Timestamp
    created_by: str
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    last_used_at: Annotated[Timestamp | None, Field(description="Noted once a minute at most")]
    previous_valid_until: Annotated[
        Timestamp | None, Field(description="So long the key before the last rotation goes")
    ]

    @classmethod
    def of(cls, key: Key) -> Self:
        return cls.model_validate(key)


class SecretKeyOut(KeyOut):
    key: Annotated[str, Field(repr=False, description="Shown this once: Authorization: Bearer …")]

    @classmethod
    def made(cls, key: Key, secret: str) -> Self:
        return cls.model_validate({**KeyOut.of(key).model_dump(), "key": secret})


class LimitsOut(BaseModel):
    locks_most: Annotated[int | None, Field(description="How many locks it may hold at once; null is no limit")]
    expires_at: Annotated[Timestamp | None, Field(description="When the key expires; null is never")]


class WhoamiOut(BaseModel):
    principal: str
    scopes: list[Scope]
    projects: Annotated[list[UUID] | None, Field(description="The only projects it sees; null is all")]
    limits: LimitsOut

    @classmethod
    def of(cls, caller: Principal) -> Self:
        return cls(
            principal=caller.name,
            scopes=[scope for scope in SCOPES if scope in caller.scopes],
            projects=None if caller.projects is None else sorted(caller.projects),
            limits=LimitsOut(locks_most=caller.locks_most, expires_at=caller.expires_at),
        )
