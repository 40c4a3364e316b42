"""The gate: nothing under /api/v1 is reached without a key, whatever routes there are and before a body is read."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth.key_lookup import KeyLookup
from api.auth.principals import SCOPE_KEY, Demand
from api.http import errors, headers
from api.http.paths import BASE
from api.middleware import rates
from domain.errors import Refusal, Unauthenticated


class Authentication:
    """Answers 401 to calls without a key that is in force; for the others it says who calls, in the ASGI scope."""

    def __init__(self, app: ASGIApp, *, identities: KeyLookup) -> None:
        self._app = app
        self._identities = identities

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(BASE):
            try:
                scope[SCOPE_KEY] = await self._identities.identify(_authorization(scope))
            except Refusal as refusal:
                if isinstance(refusal, Unauthenticated):  # and not while Postgres cannot say
                    rates.judge(scope, good=False)
                await errors.answer_to(refusal, instance=scope["path"])(scope, receive, send)
                return
            rates.judge(scope, good=True)
        await self._app(scope, receive, send)


def refuse_open_routes(routers: Iterable[APIRouter]) -> None:
    """Raises TypeError for a route under /api/v1 that does not say which scope it needs."""
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.path.startswith(BASE) and not _demands(route.dependant):
                raise TypeError(f"{route.path} must say by its caller's annotation which scope it needs")


def document_as_open(app: FastAPI) -> None:
    """Where authentication is off the OpenAPI document does not say that calls need a key: they do not."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        for methods in document["paths"].values():
            for operation in methods.values():
                operation.pop("security", None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change the document


def _demands(dependant: Dependant) -> bool:
    return any(isinstance(each.call, Demand) for each in dependant.dependencies)


def _authorization(scope: Scope) -> bytes | None:
    """The header, if there is exactly one; several are ambiguous and count as none."""
    return headers.only(scope, b"authorization")
