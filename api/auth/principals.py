"""The principal of a call, and what a route demands of it.

The annotation of a route's `caller` names the scope that it needs: Reader, Locker, Listener, Admin, or Anybody where
any key is enough. Nothing else declares it: OpenAPI, FastAPI and the fast routes all read the annotation, and the app
does not start with a route under /api/v1 that has none (`api/middleware/authentication.py`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from domain.errors import Forbidden, Unauthenticated
from domain.keys import SCOPES, Scope

SCOPE_KEY = "principal"  # under which the authentication middleware stores the principal in the ASGI scope


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller's name, scopes, allowed projects and greatest number of held locks; None is no limit.

    `digest` is that of its key; None with authentication off.
    """

    name: str
    scopes: frozenset[str]
    projects: frozenset[UUID] | None = None
    locks_most: int | None = None
    expires_at: datetime | None = None
    digest: bytes | None = field(default=None, repr=False)

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def demand(self, *scopes: Scope) -> None:
        """Raises Forbidden unless the principal has one of the scopes; `admin` is all of them."""
        if not any(map(self.may, scopes)):
            raise Forbidden

    def demand_project(self, *project_ids: UUID | str | None) -> None:
        """Raises Forbidden for a project that the principal is not allowed, or for None when it is limited."""
        if self.projects is not None and not all(project_id in self.projects for project_id in project_ids):
            raise Forbidden

    def demand_projects(self, projects: Collection[UUID] | None) -> None:
        """Raises Forbidden unless the principal has all of these itself."""
        self.demand_project(*([None] if projects is None else projects))


ANONYMOUS = Principal("anonymous", frozenset(SCOPES))


class Demand(SecurityBase):
    """A dependency that returns the principal if it has one of the scopes; without scopes any key is enough."""

    def __init__(self, *scopes: Scope) -> None:
        self.scopes = scopes
        self.model = HTTPBearer(bearerFormat="bf_…", description="An API key; not needed with BOTFARM_AUTH=off")
        self.scheme_name = "api_key"

    async def __call__(self, request: Request) -> Principal:
        return self.of(request.scope.get(SCOPE_KEY))

    def of(self, principal: Principal | None) -> Principal:
        """Raises Unauthenticated without a principal, Forbidden when it lacks the scope."""
        if principal is None:
            raise Unauthenticated
        if self.scopes:
            principal.demand(*self.scopes)
        return principal


READ, LOCK, EVENTS, ADMIN = Demand("read"), Demand("lock"), Demand("events"), Demand("admin")
READ_OR_LOCK, ANY = Demand("read", "lock"), Demand()

Reader = Annotated[Principal, Security(READ, scopes=["read"])]
Locker = Annotated[Principal, Security(LOCK, scopes=["lock"])]
Listener = Annotated[Principal, Security(EVENTS, scopes=["events"])]
Admin = Annotated[Principal, Security(ADMIN, scopes=["admin"])]
ReaderOrLocker = Annotated[Principal, Security(READ_OR_LOCK, scopes=["read", "lock"])]
Anybody = Annotated[Principal, Security(ANY)]
