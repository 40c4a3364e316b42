"""API keys: made, rotated and revoked by admins; and what one's own may do."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.auth import audit_log
from api.auth.principals import Admin, Anybody
from api.http import openapi_responses, pagination
from api.http.paths import BASE
from api.schemas.input import RotateIn
from api.schemas.keys import KeyIn, KeyOut, KeysQuery, SecretKeyOut, WhoamiOut
from api.services import Provided
from domain import keys
from domain.errors import KeyNameTaken, KeyNotFound
from domain.keys import NewKey

KEYS = f"{BASE}/keys"

router = APIRouter(prefix=BASE, tags=["keys"])


@router.get("/whoami", summary="Show the caller and what it may do", responses=openapi_responses.describe())
@router.get("/whoami/", include_in_schema=False)
async def whoami(caller: Anybody) -> WhoamiOut:
    return WhoamiOut.of(caller)


@router.post(
    "/keys/",
    status_code=201,
    summary="Create a key; it is shown only in this answer",
    responses=openapi_responses.describe(KeyNameTaken),
)
@router.post("/keys", status_code=201, include_in_schema=False)
async def create(body: KeyIn, response: Response, services: Provided, caller: Admin) -> SecretKeyOut:
    caller.demand_projects(body.projects)
    new = NewKey(**body.model_dump())
    key, secret = await services.database.run(keys.create, new=new, created_by=caller.name)
    audit_log.note(
        services.metrics, who=caller.name, what="key.create", on=key.id, name=key.name, scopes=sorted(key.scopes)
    )
    response.headers["Location"] = f"{KEYS}/{key.id}"
    response.headers["Cache-Control"] = "no-store"
    return SecretKeyOut.made(key, secret)


@router.get("/keys/", summary="List keys, including revoked ones", responses=openapi_responses.describe())
@router.get("/keys", include_in_schema=False)
async def find(
    query: Annotated[KeysQuery, Query()], request: Request, response: Response, services: Provided, caller: Admin
) -> list[KeyOut]:
    found = await services.database.run(keys.find, limit=query.limit, after=query.after, projects=caller.projects)
    if len(found) == query.limit:
        response.headers["Link"] = pagination.link(request, after=found[-1].id)
    return [KeyOut.of(key) for key in found]


@router.get("/keys/{key_id}", summary="Get a key", responses=openapi_responses.describe(KeyNotFound))
async def get(key_id: UUID, services: Provided, caller: Admin) -> KeyOut:
    return KeyOut.of(await services.database.run(keys.get, key_id=key_id, projects=caller.projects))


@router.delete(
    "/keys/{key_id}",
    status_code=204,
    summary="Revoke a key for good; every process refuses it within 5 s, its locks stay",
    responses=openapi_responses.describe(KeyNotFound),
)
async def revoke(key_id: UUID, services: Provided, caller: Admin) -> Response:
    await services.database.run(keys.revoke, key_id=key_id, projects=caller.projects)
    audit_log.note(services.metrics, who=caller.name, what="key.revoke", on=key_id)
    return Response(status_code=204)


@router.post(
    "/keys/{key_id}/rotate",
    summary="Rotate a key; the old one stays valid for a while",
    responses=openapi_responses.describe(KeyNotFound),
)
async def rotate(
    key_id: UUID, response: Response, services: Provided, caller: Admin, body: RotateIn | None = None
) -> SecretKeyOut:
    overlap = (body or RotateIn()).overlap
    key, secret = await services.database.run(keys.rotate, key_id=key_id, overlap=overlap, projects=caller.projects)
    audit_log.note(services.metrics, who=caller.name, what="key.rotate", on=key_id)
    response.headers["Cache-Control"] = "no-store"
    return SecretKeyOut.made(key, secret)
