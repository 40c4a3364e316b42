"""Webhooks: what is sent and what is answered."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, HttpUrl, StringConstraints, model_validator

from api.schemas.fields import Printable, Slug
from api.schemas.input import Input
from api.schemas.timestamps import Timestamp
from domain.webhooks import Delivery, Webhook

URL_MOST = 2_048


def _plain(url: HttpUrl) -> str:
    """As text, host names in ASCII and numbers that stand for addresses spelled out, as the URL standard says."""
    if url.username is not None or url.password is not None:
        raise ValueError("must not contain credentials; receivers verify the signature")
    if url.fragment is not None:
        raise ValueError("must not have a fragment; it would not be sent")
    if len(str(url)) > URL_MOST:
        raise ValueError(f"must be at most {URL_MOST} characters")
    return str(url)


Url = Annotated[HttpUrl, AfterValidator(_plain), Field(description="http or https, without credentials or fragment")]
Description = Annotated[Printable, StringConstraints(max_length=500)]
Type = Annotated[Printable, StringConstraints(min_length=1, max_length=100)]
Types = Annotated[list[Type], Field(max_length=50, description="Only these types; empty is all")]
Cursor = Annotated[str, Field(max_length=40, description="A cursor, or `latest`")]


class WebhookIn(Input):
    """A receiver of the events that match every filter given, from `after` on."""

    url: Url
    description: Description | None = None
    types: Types = Field(default_factory=list)
    user_id: UUID | None = None
    project_id: UUID | None = None
    env: Slug | None = None
    after: Annotated[Cursor | None, Field(description="Begin after it; null is the oldest event kept")] = "latest"


class WebhookPatch(Input):
    """What is left out stays; so does the cursor."""

    url: Url | None = None
    description: Description | None = None
    types: Types | None = None
    user_id: UUID | None = None
    project_id: UUID | None = None
    env: Slug | None = None
    status: Annotated[
        Literal["active", "paused"] | None, Field(description="`active` resumes where the webhook stands")
    ] = None

    @model_validator(mode="after")
    def _sets_what_can_be_set(self) -> Self:
        for name in ("url", "types", "status"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null; leave it out to keep its value")
        return self


class ResumeIn(Input):
    after: Cursor | None = None


class WebhooksQuery(Input):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    after: Annotated[UUID | None, Field(description="Webhooks beyond this id")] = None


class DeliveriesQuery(Input):
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    after: Annotated[int | None, Field(ge=0, le=2**63 - 1, description="Deliveries older than this id")] = None


class WebhookOut(BaseModel):
    """A webhook without its secret.

    `cursor` is the last event delivered or given up, `attempt` the failed tries of the next.
    """

    id: UUID
    url: str
    description: str | None
    types: list[str]
    user_id: UUID | None
    project_id: UUID | None
    env: str | None
    projects: Annotated[list[UUID] | None, Field(description="The only projects it hears of: those of its maker's key")]
    status: Literal["active", "paused", "disabled"]
    status_reason: Annotated[
        str | None, Field(description="Why it is disabled: `gone`, `retries-exhausted` or `cursor-too-old`")
    ]
    status_since: Timestamp
    cursor: str
    attempt: int
    next_attempt_at: Annotated[Timestamp | None, Field(description="When the next event is tried again")]
    previous_secret_valid_until: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, webhook: Webhook, **more: Any) -> Self:  # noqa: ANN401  -- the further fields of a subclass
        return cls.model_validate({**fields_of(webhook), **more})


class SecretWebhookOut(WebhookOut):
    secret: Annotated[str, Field(repr=False, description="Shown this once: receivers verify signatures with it")]


class DeliveryOut(BaseModel):
    """One try; `status`, `error` and `latency_ms` are null while it waits to be made."""

    id: int
    webhook_id: UUID
    event_id: UUID
    cursor: str
    kind: Literal["first", "retry", "again"]
    attempt: int
    requested_at: Timestamp
    status: Annotated[int | None, Field(description="What the receiver answered")]
    error: Annotated[
        str | None,
        Field(
            description="`timeout`, `unreachable: …`, `forbidden-address`, `bad-answer: …`, `bad-url: …`, "
            "`secret-unreadable`, `event-gone` or `internal-error: …`"
        ),
    ]
    latency_ms: int | None
    answer: Annotated[str | None, Field(description="The first KiB of it")]

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        return cls.model_validate(fields_of(delivery))


def host(url: str) -> str:
    return urlsplit(url).hostname or ""


def fields_of(shown: Webhook | Delivery) -> dict[str, Any]:
    fields = {name: getattr(shown, name) for name in type(shown).__slots__}
    return {**fields, "cursor": str(shown.cursor)}
