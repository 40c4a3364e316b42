"""Hot routes: the few calls that a farm lives from, served on a short way.

FastAPI's way to an endpoint (matching against every route, solving dependencies, checking the answer against its model)
costs several times what the lock change itself does. A hot route is declared like any other, so that OpenAPI tells of
it, and marked:

    @router.post("/acquire_lock", responses=…)
    @hot.route
    async def renew(user_id: UUID, body: RenewIn, services: Provided, caller: Caller) -> RenewedOut: …

A plain call, one whose path and body are valid at first sight, is then read, made and answered by this module alone.
Whatever is not plain (a query, another content type, a body that does not validate) goes FastAPI's way, its body
replayed, and is answered or refused there: so there is one contract, and this is a shortcut through it. An endpoint may
take `user_id`, `request`, `response` (for its headers), `services`, `caller` and `body`, by these names; it returns a
Pydantic model.
"""

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth.principals import SCOPE_KEY, Demand
from api.http import errors
from api.middleware.body_limit import BODY_MOST_BYTES
from api.services import Services
from domain.errors import Refusal

Endpoint = TypeVar("Endpoint", bound=Callable[..., Awaitable[BaseModel]])

MARK = "__hot_route__"
TAKEN = frozenset({"user_id", "request", "response", "services", "caller", "body"})
# Python takes more for a UUID than Pydantic does: digits of any script, hyphens anywhere, `urn:`.
UUID_FORM = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
CONTENT_TYPE = (b"content-type", b"application/json")


def route(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint as hot; the router's decorator comes above this one."""
    unknown = inspect.signature(endpoint).parameters.keys() - TAKEN
    if unknown:
        raise TypeError(f"a hot route takes {sorted(TAKEN)}, not {sorted(unknown)}")
    setattr(endpoint, MARK, True)
    return endpoint


@dataclass(frozen=True, slots=True)
class _Hot:
    """A hot route, taken apart once. `path_format` is its template, by the name that routes give it."""

    path_format: str
    endpoint: Callable[..., Awaitable[BaseModel]]
    takes: frozenset[str]
    model: type[BaseModel] | None
    needs_body: bool
    demand: Demand

    @classmethod
    def of(cls, route: APIRoute) -> "_Hot":
        parameters = inspect.signature(route.endpoint).parameters
        body = parameters.get("body")
        needs_body = body is not None and body.default is inspect.Parameter.empty
        endpoint = route.endpoint
        takes = frozenset(parameters)
        return cls(route.path_format, endpoint, takes, _model(endpoint), needs_body, _demand(endpoint))


@dataclass(slots=True)
class _Answer:
    """What an endpoint sees of its answer."""

    headers: dict[str, str]


class FastRoutes:
    """Serves the plain calls of hot routes; everything else it passes on."""

    def __init__(self, app: ASGIApp, *, services: Services, routers: Iterable[APIRouter]) -> None:
        self._app = app
        self._services = services
        self._hot = {
            hot.path_format: hot
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute) and hasattr(route.endpoint, MARK)
            for hot in [_Hot.of(route)]
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        hot, user_id = found
        messages = await _read(receive)
        try:
            body = _parse(hot, scope, messages)
        except (ValidationError, _NotPlainError):
            await self._app(scope, _replaying(messages, receive), send)
            return
        scope["route"] = hot
        scope["path_params"] = {} if user_id is None else {"user_id": user_id}
        await self._serve(hot, user_id, body, scope, receive, send)

    def _find(self, scope: Scope) -> tuple[_Hot, UUID | None] | None:
        """The route, and the user that the path names, if it names one."""
        if scope["query_string"]:
            return None
        path: str = scope["path"]
        if (hot := self._hot.get(path)) is not None:
            return hot, None
        rest, _, verb = path.rpartition("/")
        base, _, user_id = rest.rpartition("/")
        hot = self._hot.get(f"{base}/{{user_id}}/{verb}")
        if hot is None or UUID_FORM.fullmatch(user_id) is None:
            return None
        return hot, UUID(user_id)

    async def _serve(
        self, hot: _Hot, user_id: UUID | None, body: BaseModel | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        answer = _Answer({})
        given: dict[str, Any] = {"user_id": user_id, "body": body, "services": self._services, "response": answer}
        if "request" in hot.takes:
            given["request"] = Request(scope, receive)
        try:
            given["caller"] = hot.demand.of(scope.get(SCOPE_KEY))
            shown = await hot.endpoint(**{name: given[name] for name in hot.takes})
        except (Refusal, RequestValidationError) as error:
            await errors.answer_to(error, instance=scope["path"])(scope, receive, send)
            return
        content = shown.__pydantic_serializer__.to_json(shown)
        headers = [CONTENT_TYPE, (b"content-length", b"%d" % len(content))]
        headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class _NotPlainError(Exception):
    """The call is for FastAPI to answer."""


def _model(endpoint: Callable[..., Any]) -> type[BaseModel] | None:
    """The model of the body: the one type of its annotation that is no None."""
    annotation = typing.get_type_hints(endpoint).get("body")
    kinds = typing.get_args(annotation) or (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _demand(endpoint: Callable[..., Any]) -> Demand:
    """What the annotation of `caller` demands: a hot route is never without."""
    annotation = typing.get_type_hints(endpoint, include_extras=True).get("caller")
    for body in typing.get_args(annotation):
        if isinstance(demand := getattr(body, "dependency", None), Demand):
            return demand
    raise TypeError(f"{endpoint.__name__} must say by its caller's annotation which scope it needs")


async def _read(receive: Receive) -> list[Message]:
    """The messages of the body; no more than a little above what a body may have."""
    messages, size = [], 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if not message.get("more_body") or size > BODY_MOST_BYTES:
            return messages


def _parse(hot: _Hot, scope: Scope, messages: list[Message]) -> BaseModel | None:
    """The body, validated. Raises ValidationError and _NotPlainError."""
    if messages[-1]["type"] != "http.request" or messages[-1].get("more_body"):
        raise _NotPlainError  # its caller has hung up, or sends too much
    content = b"".join(message.get("body", b"") for message in messages)
    if not content and not hot.needs_body:
        return None
    if hot.model is None or not content or CONTENT_TYPE not in scope["headers"]:
        raise _NotPlainError
    return hot.model.model_validate_json(content)


def _replaying(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that gives what was read once more, and then goes on."""
    again = iter(messages)

    async def replay() -> Message:
        return next(again, None) or await receive()

    return replay
