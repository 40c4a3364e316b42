"""Creating and finding users."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import ValidationError, WithJsonSchema

from api.auth import audit_log
from api.auth.principals import Admin, Listener, Principal, Reader
from api.http import errors, openapi_responses, pagination, traceparent
from api.http.paths import BASE
from api.schemas.users import BatchOut, DeleteQuery, HistoryQuery, UserIn, UserOut, UserPatch, UsersQuery
from api.services import Provided
from domain import users
from domain.errors import (
    CursorMalformed,
    Forbidden,
    HistoryTooOld,
    LoginTaken,
    Refusal,
    SealingUnconfigured,
    UserLocked,
    UserNotFound,
)
from domain.events import feed, histories
from domain.events.feed import Event
from domain.snapshots import User
from domain.users import Change

BATCH_MOST = 1_000
ROWS_SCHEMA = {"type": "array", "minItems": 1, "maxItems": BATCH_MOST, "items": {"$ref": "#/components/schemas/UserIn"}}

router = APIRouter(prefix=f"{BASE}/users", tags=["users"])


@router.post(
    "/",
    status_code=201,
    summary="Create a user",
    responses=openapi_responses.describe(LoginTaken, SealingUnconfigured),
)
@router.post("", status_code=201, include_in_schema=False)
async def create(body: UserIn, response: Response, services: Provided, caller: Admin) -> UserOut:
    caller.demand_project(body.project_id)
    user = await services.database.run(
        users.create, new=_new(body), ring=services.ring, principal=caller.name, traceparent=traceparent.current()
    )
    audit_log.note(services.metrics, who=caller.name, what="user.create", on=user.id)
    response.headers["Location"] = f"{BASE}/users/{user.id}"
    return UserOut.of(user)


@router.post(
    "/batch",
    summary="Create up to 1,000 users; each row succeeds or fails by itself",
    responses=openapi_responses.describe(),
)
async def create_batch(
    body: Annotated[list[Any], Body(min_length=1, max_length=BATCH_MOST), WithJsonSchema(ROWS_SCHEMA)],
    request: Request,
    services: Provided,
    caller: Admin,
) -> BatchOut:
    rows = [_checked(row, caller) for row in body]
    new = [_new(row) for row in rows if isinstance(row, UserIn)]
    made = iter(
        await services.database.run(
            users.create_many, new=new, ring=services.ring, principal=caller.name, traceparent=traceparent.current()
        )
    )
    outcomes = [next(made) if isinstance(row, UserIn) else row for row in rows]
    created = [str(outcome.id) for outcome in outcomes if isinstance(outcome, User)]
    audit_log.note(services.metrics, who=caller.name, what="user.create_batch", on=None, users=created)
    return BatchOut(results=[_result(outcome, instance=request.url.path) for outcome in outcomes])


@router.get("/", summary="List users, ordered by login", responses=openapi_responses.describe(CursorMalformed))
@router.get("", include_in_schema=False)
async def find(
    query: Annotated[UsersQuery, Query()], request: Request, response: Response, services: Provided, caller: Reader
) -> list[UserOut]:
    if query.project_id is not None:
        caller.demand_project(query.project_id)
    if _contradictory(query.label):
        return []
    page = await services.database.run(users.find, by=_filter(query, caller), limit=query.limit, after=query.after)
    if page.next_cursor is not None:
        response.headers["Link"] = pagination.link(request, after=page.next_cursor)
    return [UserOut.of(user) for user in page.users]


@router.get("/{user_id}", summary="Get a user", responses=openapi_responses.describe(UserNotFound))
async def get(user_id: UUID, services: Provided, caller: Reader) -> UserOut:
    return UserOut.of(await services.database.run(users.get, user_id=user_id, projects=caller.projects))


@router.patch(
    "/{user_id}",
    summary="Change a user; its lock is not affected",
    responses=openapi_responses.describe(UserNotFound, SealingUnconfigured),
)
async def change(user_id: UUID, body: UserPatch, services: Provided, caller: Admin) -> UserOut:
    if "project_id" in body.model_fields_set:
        caller.demand_project(body.project_id)
    user = await services.database.run(
        users.change,
        user_id=user_id,
        to=Change({name: getattr(body, name) for name in body.model_fields_set}),
        ring=services.ring,
        principal=caller.name,
        projects=caller.projects,
        traceparent=traceparent.current(),
    )
    services.dispatcher.freed()
    fields = sorted(body.model_fields_set)
    audit_log.note(services.metrics, who=caller.name, what="user.change", on=user_id, fields=fields, status=user.status)
    return UserOut.of(user)


@router.delete(
    "/{user_id}",
    status_code=204,
    summary="Delete a user; a locked one needs force and a reason",
    responses=openapi_responses.describe(UserNotFound, UserLocked),
)
async def remove(user_id: UUID, query: Annotated[DeleteQuery, Query()], services: Provided, caller: Admin) -> Response:
    await services.database.run(
        users.remove,
        user_id=user_id,
        principal=caller.name,
        force_reason=query.reason,
        projects=caller.projects,
        traceparent=traceparent.current(),
    )
    audit_log.note(services.metrics, who=caller.name, what="user.delete", on=user_id, force_reason=query.reason)
    await asyncio.to_thread(services.cache_writer.forget, user_id)
    return Response(status_code=204)


@router.get(
    "/{user_id}/events",
    summary="List the events of a user, newest first; `at` finds the holder at a time",
    description=(
        "With `at` the list has one event at most: the grant (`botfarm.lock.acquired.v1`) or last renewal of the lock"
        " that was in force at that moment, with `owner`, `token`, `locktime` and `expires_at` in its `data`. It is"
        " empty when the user was free then. A lock ends at `expires_at`, even where `expired` was written later."
        " A moment still to come is answered as of now."
    ),
    responses=openapi_responses.describe(CursorMalformed, HistoryTooOld),
)
async def history(
    user_id: UUID,
    query: Annotated[HistoryQuery, Query()],
    request: Request,
    response: Response,
    services: Provided,
    caller: Listener,
) -> list[dict[str, Any]]:
    if query.at is not None:
        holding = await services.database.run(histories.holding, user_id=user_id, at=query.at, projects=caller.projects)
        return [] if holding is None else [_shown(holding)]
    found = await services.database.run(
        feed.history, user_id=user_id, limit=query.limit, after=query.after, projects=caller.projects
    )
    if len(found) == query.limit:
        response.headers["Link"] = pagination.link(request, after=found[-1].cursor)
    return [_shown(event) for event in found]


def _new(body: UserIn) -> users.NewUser:
    return users.NewUser(**{name: getattr(body, name) for name in UserIn.model_fields})


def _shown(event: Event) -> dict[str, Any]:
    """A history also says who did it: the principal, as an extension attribute."""
    who = {} if event.principal is None else {"principal": event.principal}
    return feed.cloudevent(event) | who


def _checked(row: object, caller: Principal) -> UserIn | ValidationError | Forbidden:
    try:
        user = UserIn.model_validate(row)
        caller.demand_project(user.project_id)
    except (ValidationError, Forbidden) as error:
        return error
    return user


def _result(outcome: User | Refusal | ValidationError, *, instance: str) -> dict[str, Any]:
    if isinstance(outcome, User):
        return {"status": 201, "user": UserOut.of(outcome)}
    if isinstance(outcome, Refusal):
        problem, _ = errors.document(outcome, instance=instance)
    else:
        problem = errors.invalid_document(outcome.errors(), instance=instance)
    return {"status": problem["status"], "problem": problem}


def _filter(query: UsersQuery, caller: Principal) -> users.Filter:
    given: dict[str, Any] = query.model_dump(exclude={"label", "limit", "after"})
    labels = dict(label.split(":", 1) for label in query.label)
    return users.Filter(**given, labels=labels, projects=caller.projects)


def _contradictory(labels: Sequence[str]) -> bool:
    """Whether one label key is filtered for two values, which no user can have."""
    return len(set(labels)) > len({label.split(":", 1)[0] for label in labels})
