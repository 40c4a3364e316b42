"""Every route by every scope by own and foreign project by every kind of bad key, as docs/authorization.md says."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from api.auth import principals
from api.middleware.authentication import refuse_open_routes
from domain.configuration.settings import Settings
from domain.keys import SCOPES
from tests.api.auth import authorizations, matrix
from tests.api.auth.authorizations import Cell, cells, unlisted
from tests.api.auth.keyrings import OWN, mistyped, new_key, revoke, unknown_key
from tests.api.auth.matrix import World, check
from tests.api.farms import farming

TABLE = authorizations.rows(authorizations.DOCUMENT.read_text())
USER = "GET /api/v1/users/{user_id}"
FORCE = "POST /api/v1/users/{user_id}/release_lock with force"


@pytest.fixture(scope="module")
def world(fresh_settings: Callable[[], Settings]) -> Iterator[World]:
    with farming(fresh_settings().model_copy(update={"auth": "keys"})) as farm:
        keys: dict[str, str | None] = {scope: new_key(farm, scope, scope, projects=[OWN]) for scope in SCOPES}
        keys["root"] = new_key(farm, "root", "admin")
        keys["no key"] = None
        keys["mistyped"] = mistyped(str(keys["admin"]))
        keys["unknown"] = unknown_key()
        keys["expired"] = new_key(farm, "expired", *SCOPES, seconds=-1)
        keys["revoked"] = new_key(farm, "revoked", *SCOPES)
        revoke(farm, "revoked")
        yield World(farm, keys)


@pytest.mark.parametrize("cell", cells(TABLE), ids=str)
def test_each_cell_is_as_the_table_says(world: World, cell: Cell) -> None:
    check(world, cell)


def test_the_table_has_every_call_of_the_openapi_document_with_its_scopes_and_no_other(world: World) -> None:
    assert unlisted(world.farm.app.openapi(), TABLE) == set()


def test_a_call_that_the_table_does_not_know_or_knows_otherwise_is_noticed(world: World) -> None:
    document = world.farm.app.openapi()
    paths = document["paths"]
    open_paths = {**paths, "/api/v1/users/{user_id}": {"get": {}, "patch": {}, "delete": {}}}

    assert unlisted({"paths": {**paths, "/api/v1/new": {"get": {}}}}, TABLE) == {"GET /api/v1/new"}
    assert unlisted({"paths": open_paths}, TABLE) == {f"{verb} {USER[4:]}" for verb in ("GET", "PATCH", "DELETE")}
    assert unlisted(document, {call: row for call, row in TABLE.items() if call != USER}) == {USER}


@pytest.mark.parametrize(
    ("demand", "call", "who"),
    [
        ("READ", USER, "lock"),
        ("LOCK", "POST /api/v1/users/{user_id}/acquire_lock", "read"),  # a hot route
        ("EVENTS", "GET /api/v1/events", "read"),
        ("ADMIN", "DELETE /api/v1/users/{user_id}", "lock"),
        ("READ_OR_LOCK", "GET /api/v1/lock_requests/", "events"),
    ],
)
def test_a_route_whose_scope_was_removed_is_caught(
    world: World, monkeypatch: pytest.MonkeyPatch, demand: str, call: str, who: str
) -> None:
    monkeypatch.setattr(getattr(principals, demand), "scopes", ())

    with pytest.raises(AssertionError):
        check(world, Cell(TABLE[call], who, "own"))


def test_a_gate_that_stands_open_is_caught(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.farm.app.state.services.identities, "off", True)

    with pytest.raises(AssertionError):
        check(world, Cell(TABLE[USER], "revoked", "own"))
    with pytest.raises(AssertionError):
        check(world, Cell(TABLE[USER], "read", "foreign"))


def test_a_refusal_that_comes_when_it_is_done_is_caught(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = matrix._told

    def done_all_the_same(answer: httpx.Response) -> Any:
        world.new_user("foreign")
        return answered(answer)

    monkeypatch.setattr(matrix, "_told", done_all_the_same)
    for who, where in (("read", "own"), ("admin", "foreign"), ("revoked", "foreign")):
        with pytest.raises(AssertionError, match="has changed something"):
            check(world, Cell(TABLE["POST /api/v1/users/"], who, where))


def test_a_route_that_does_not_say_which_scope_it_needs_does_not_come_up() -> None:
    router = APIRouter(prefix="/api/v1")

    @router.get("/open")
    async def endpoint() -> None: ...

    with pytest.raises(TypeError, match="/api/v1/open must say"):
        refuse_open_routes([router])
