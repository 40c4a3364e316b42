"""Webhooks: receivers that are sent the events; a worker sends them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from api.auth import audit_log
from api.auth.principals import Admin, Principal
from api.http import openapi_responses, pagination
from api.http.paths import BASE
from api.schemas.input import RotateIn
from api.schemas.webhooks import (
    DeliveriesQuery,
    DeliveryOut,
    ResumeIn,
    SecretWebhookOut,
    WebhookIn,
    WebhookOut,
    WebhookPatch,
    WebhooksQuery,
    host,
)
from api.services import Provided, Services
from domain import webhooks
from domain.errors import (
    AddressForbidden,
    CursorMalformed,
    CursorTooOld,
    CursorUnknown,
    DeliveryNotFound,
    EventGone,
    SealingUnconfigured,
    TooManyWebhooks,
    WebhookNotFound,
)
from domain.events.feed import Filter
from domain.webhooks import addresses

DeliveryId = Annotated[int, Path(ge=1, le=2**63 - 1)]

router = APIRouter(prefix=f"{BASE}/webhooks", tags=["webhooks"])


@router.post(
    "/",
    status_code=201,
    summary="Create a webhook; its secret is shown only in this answer",
    responses=openapi_responses.describe(
        AddressForbidden, TooManyWebhooks, SealingUnconfigured, CursorMalformed, CursorTooOld, CursorUnknown
    ),
)
@router.post("", status_code=201, include_in_schema=False)
async def create(body: WebhookIn, response: Response, services: Provided, caller: Admin) -> SecretWebhookOut:
    _require_own(caller, body)
    url = str(body.url)
    _require_public(services, url)
    by = Filter(body.types, body.user_id, body.project_id, body.env, caller.projects)
    new = webhooks.NewWebhook(url, body.description, by, body.after)
    webhook, secret = await services.database.run(
        webhooks.create, new=new, ring=services.ring, most=services.webhooks_most
    )
    audit_log.note(services.metrics, who=caller.name, what="webhook.create", on=webhook.id, host=host(url))
    response.headers["Location"] = f"{BASE}/webhooks/{webhook.id}"
    response.headers["Cache-Control"] = "no-store"
    return SecretWebhookOut.of(webhook, secret=secret)


@router.get("/", summary="List webhooks", responses=openapi_responses.describe())
@router.get("", include_in_schema=False)
async def find(
    query: Annotated[WebhooksQuery, Query()], request: Request, response: Response, services: Provided, caller: Admin
) -> list[WebhookOut]:
    found = await services.database.run(webhooks.find, limit=query.limit, after=query.after, projects=caller.projects)
    if len(found) == query.limit:
        response.headers["Link"] = pagination.link(request, after=found[-1].id)
    return [WebhookOut.of(webhook) for webhook in found]


@router.get("/{webhook_id}", summary="Get a webhook", responses=openapi_responses.describe(WebhookNotFound))
async def get(webhook_id: UUID, services: Provided, caller: Admin) -> WebhookOut:
    return WebhookOut.of(await services.database.run(webhooks.get, webhook_id=webhook_id, projects=caller.projects))


@router.patch(
    "/{webhook_id}",
    summary="Change, pause or reactivate a webhook",
    responses=openapi_responses.describe(WebhookNotFound, AddressForbidden, CursorTooOld),
)
async def change(webhook_id: UUID, body: WebhookPatch, services: Provided, caller: Admin) -> WebhookOut:
    fields = {name: getattr(body, name) for name in body.model_fields_set}
    _require_own(caller, body)
    if body.url is not None:
        _require_public(services, str(body.url))
    webhook = await services.database.run(
        webhooks.change, webhook_id=webhook_id, fields=fields, projects=caller.projects
    )
    audit_log.note(services.metrics, who=caller.name, what="webhook.change", on=webhook_id, fields=sorted(fields))
    return WebhookOut.of(webhook)


@router.delete(
    "/{webhook_id}",
    status_code=204,
    summary="Delete a webhook and its deliveries",
    responses=openapi_responses.describe(WebhookNotFound),
)
async def remove(webhook_id: UUID, services: Provided, caller: Admin) -> Response:
    await services.database.run(webhooks.remove, webhook_id=webhook_id, projects=caller.projects)
    audit_log.note(services.metrics, who=caller.name, what="webhook.delete", on=webhook_id)
    return Response(status_code=204)


@router.post(
    "/{webhook_id}/resume",
    summary="Resume a webhook at its cursor, or after another one",
    responses=openapi_responses.describe(WebhookNotFound, CursorMalformed, CursorTooOld, CursorUnknown),
)
async def resume(webhook_id: UUID, services: Provided, caller: Admin, body: ResumeIn | None = None) -> WebhookOut:
    after = body.after if body else None
    webhook = await services.database.run(webhooks.resume, webhook_id=webhook_id, after=after, projects=caller.projects)
    audit_log.note(services.metrics, who=caller.name, what="webhook.resume", on=webhook_id, after=after)
    return WebhookOut.of(webhook)


@router.post(
    "/{webhook_id}/rotate_secret",
    summary="Rotate the secret of a webhook; the old one also signs for a while",
    responses=openapi_responses.describe(WebhookNotFound, SealingUnconfigured),
)
async def rotate_secret(
    webhook_id: UUID, response: Response, services: Provided, caller: Admin, body: RotateIn | None = None
) -> SecretWebhookOut:
    overlap = (body or RotateIn()).overlap
    webhook, secret = await services.database.run(
        webhooks.rotate_secret, webhook_id=webhook_id, ring=services.ring, overlap=overlap, projects=caller.projects
    )
    audit_log.note(services.metrics, who=caller.name, what="webhook.rotate_secret", on=webhook_id)
    response.headers["Cache-Control"] = "no-store"
    return SecretWebhookOut.of(webhook, secret=secret)


@router.get(
    "/{webhook_id}/deliveries",
    summary="List the deliveries of a webhook, newest first",
    responses=openapi_responses.describe(WebhookNotFound),
)
async def deliveries(
    webhook_id: UUID,
    query: Annotated[DeliveriesQuery, Query()],
    request: Request,
    response: Response,
    services: Provided,
    caller: Admin,
) -> list[DeliveryOut]:
    found = await services.database.run(
        webhooks.find_deliveries,
        webhook_id=webhook_id,
        limit=query.limit,
        after=query.after,
        projects=caller.projects,
    )
    if len(found) == query.limit:
        response.headers["Link"] = pagination.link(request, after=found[-1].id)
    return [DeliveryOut.of(delivery) for delivery in found]


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/send_again",
    status_code=202,
    summary="Send the event of a delivery again; the cursor does not move",
    responses=openapi_responses.describe(WebhookNotFound, DeliveryNotFound, EventGone),
)
async def send_again(webhook_id: UUID, delivery_id: DeliveryId, services: Provided, caller: Admin) -> DeliveryOut:
    asked = await services.database.run(
        webhooks.ask_again, webhook_id=webhook_id, delivery_id=delivery_id, projects=caller.projects
    )
    audit_log.note(services.metrics, who=caller.name, what="webhook.send_again", on=webhook_id, delivery=delivery_id)
    return DeliveryOut.of(asked)


def _require_own(caller: Principal, body: WebhookIn | WebhookPatch) -> None:
    if body.project_id is not None:
        caller.demand_project(body.project_id)


def _require_public(services: Services, url: str) -> None:
    """What a URL says by itself is refused at once; what its name stands for is judged at every connection."""
    if addresses.named_privately(host(url), allowed=services.webhook_networks):
        raise AddressForbidden(host(url))
