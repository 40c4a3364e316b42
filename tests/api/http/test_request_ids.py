"""The request id: on every answer, and in every line of the log that a request causes."""

import io
import re
from collections.abc import Iterator

import httpx
import pytest

from api.auth.principals import READ
from domain.configuration.settings import Settings
from tests.api.farms import NOBODY, USERS, Farm, farming
from tests.api.logs import lines, logging_to
from tests.patience import eventually

MADE = re.compile(r"[0-9a-f]{32}")


class BrokenError(Exception):
    """What a defect raises."""


async def broken() -> None:
    raise BrokenError("planted in the exception")


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What is logged, as a process of the API would write it."""
    with logging_to(io.StringIO()) as stream:
        yield stream


@pytest.fixture
def defective(settings: Settings, said: io.StringIO) -> Iterator[Farm]:
    """A farm whose every route that reads fails."""
    with farming(settings) as farm:
        farm.app.dependency_overrides[READ] = broken
        yield farm


def answers(client: httpx.Client, **headers: str) -> list[httpx.Response]:
    """One answer of every kind."""
    return [
        client.get("/livez", headers=headers),
        client.get("/docs", headers=headers),
        client.get("/static/swagger/swagger-ui.css", headers=headers),
        client.post(f"{USERS}/{NOBODY}/acquire_lock", headers=headers),
        client.get("/nowhere", headers=headers),
        client.put("/livez", headers=headers),
        client.post(f"{USERS}/", json={}, headers=headers),
        client.get(f"{USERS}/?after=x", headers=headers),
        client.post(f"{USERS}/", content=b" " * 1_048_577, headers=headers),
    ]


@pytest.mark.parametrize("given", ["abc", "req-1.2:3/4+5=6_7", "0" * 128, "traced 1".replace(" ", "-")])
def test_the_id_of_a_caller_is_in_every_response(farm: Farm, given: str) -> None:
    found = answers(farm.client, **{"X-Request-ID": given})

    assert [answer.headers["X-Request-ID"] for answer in found] == [given] * len(found)
    assert sorted({answer.status_code for answer in found}) == [200, 400, 404, 405, 413, 422]


def test_a_request_without_an_id_gets_one(farm: Farm) -> None:
    made = [answer.headers["X-Request-ID"] for answer in answers(farm.client)]

    assert [request_id for request_id in made if not MADE.fullmatch(request_id)] == []
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    "hostile", ["", "0" * 129, "a b", "a\tb", '"}{"', "<script>", "é", "a;b", "a\\nb", "${jndi:x}", "%0a"]
)
def test_a_hostile_id_is_replaced(farm: Farm, hostile: str) -> None:
    answer = farm.client.get("/livez", headers=[(b"X-Request-ID", hostile.encode())])

    assert answer.status_code == 200
    assert MADE.fullmatch(answer.headers["X-Request-ID"])


def test_an_unexpected_error_is_a_problem_that_shows_the_request_id_and_no_internals(defective: Farm) -> None:
    answer = defective.client.get(f"{USERS}/", headers={"X-Request-ID": "quoted-1"})

    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"] == "quoted-1"
    assert answer.json()["type"] == "urn:botfarm:problem:internal"
    assert "quoted-1" in answer.json()["detail"]
    for inside in ("Broken", "planted", "Traceback", ".py"):
        assert inside not in answer.text


def test_after_an_unexpected_error_the_connection_is_closed(defective: Farm) -> None:
    answer = defective.client.get(f"{USERS}/")

    assert answer.headers["Connection"] == "close"
    assert defective.client.get("/livez").status_code == 200


def test_an_unexpected_error_is_logged_with_its_request_id(defective: Farm, said: io.StringIO) -> None:
    defective.client.get(f"{USERS}/", headers={"X-Request-ID": "quoted-2"})

    assert eventually(lambda: "BrokenError: planted" in said.getvalue())
    found = {line["event"]: line for line in lines(said.getvalue())}
    assert found["http_request"]["status"] == 500
    assert found["request_failed"]["error"] == "BrokenError"
    assert "Traceback" in found["Exception in ASGI application\n"]["exception"]
    for event in ("http_request", "request_failed", "Exception in ASGI application\n"):
        assert found[event]["request_id"] == "quoted-2"


def test_every_request_is_one_line_of_json_with_its_id(settings: Settings, said: io.StringIO) -> None:
    with farming(settings) as farm:
        found = answers(farm.client)

        assert eventually(lambda: said.getvalue().count('"http_request"') == len(found))
    logged = {line["request_id"]: line for line in lines(said.getvalue()) if line["event"] == "http_request"}
    assert set(logged) == {answer.headers["X-Request-ID"] for answer in found}
    for answer in found:
        line = logged[answer.headers["X-Request-ID"]]
        assert (line["method"], line["status"]) == (answer.request.method, answer.status_code)
        assert line["ms"] > 0


def test_the_log_names_the_route_and_not_the_path(settings: Settings, said: io.StringIO) -> None:
    with farming(settings) as farm:
        farm.client.get(f"{USERS}/{NOBODY}")
        farm.client.get("/wp-admin/planted.php")

        assert eventually(lambda: said.getvalue().count('"http_request"') == 2)
    logged = [line for line in lines(said.getvalue()) if line["event"] == "http_request"]
    assert [line["route"] for line in logged] == [f"{USERS}/{{user_id}}", "unknown"]
    assert "planted" not in str(logged)


def test_a_refusal_is_no_error_in_the_log(settings: Settings, said: io.StringIO) -> None:
    with farming(settings) as farm:
        user_id = farm.new_user()["id"]
        for _ in range(2):
            farm.acquire(user_id)
        farm.release(user_id, lease_id=NOBODY)

    assert {line["level"] for line in lines(said.getvalue())} == {"info"}
