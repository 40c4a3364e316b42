"""The documentation page works where there is no internet, and its document is right."""

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.routes.users import BATCH_MOST
from tests.api.farms import Farm

ADDRESS = re.compile(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""")


def document(farm: Farm) -> dict[str, Any]:
    return dict(farm.client.get("/openapi.json").json())


def operations(farm: Farm) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document(farm)["paths"].items()
        for method, operation in methods.items()
    }


def test_the_page_refers_to_own_files_only_and_they_are_served(farm: Farm) -> None:
    page = farm.client.get("/docs")

    addresses = ADDRESS.findall(page.text)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "/openapi.json" in addresses
    assert len(addresses) >= 4
    assert [address for address in addresses if not address.startswith("/") or address.startswith("//")] == []
    assert {address: farm.client.get(address).status_code for address in addresses} == dict.fromkeys(addresses, 200)


def test_neither_page_nor_style_reaches_for_another_host(farm: Farm) -> None:
    for path in ("/docs", "/static/swagger/swagger-ui.css"):
        body = re.sub(r"http://www\.w3\.org/[\w/]+", "", farm.client.get(path).text)  # names, never fetched

        assert re.findall(r"""(?:https?:)?//[\w.-]+\.\w{2,}""", body.split("sourceMappingURL")[0]) == []


@pytest.mark.parametrize(
    ("file", "kind"),
    [("swagger-ui-bundle.js", "javascript"), ("swagger-ui.css", "text/css"), ("favicon-32x32.png", "image/png")],
)
def test_files_have_their_media_type(farm: Farm, file: str, kind: str) -> None:
    assert kind in farm.client.get(f"/static/swagger/{file}").headers["Content-Type"]


@pytest.mark.parametrize("path", ["/static/../main.py", "/static/%2e%2e/main.py", "/static/swagger", "/static/"])
def test_nothing_but_those_files_is_served(farm: Farm, path: str) -> None:
    assert farm.client.get(path).status_code == 404


def test_the_document_lists_every_call_there_is(farm: Farm) -> None:
    body = document(farm)

    assert body["openapi"].startswith("3.1")
    assert body["info"]["title"] == "Botfarm"
    assert set(operations(farm)) >= {
        "POST /api/v1/users/",
        "GET /api/v1/users/",
        "POST /api/v1/users/batch",
        "GET /api/v1/users/{user_id}",
        "GET /api/v1/users/{user_id}/events",
        "GET /api/v1/users/{user_id}/lock",
        "POST /api/v1/users/{user_id}/acquire_lock",
        "POST /api/v1/users/{user_id}/renew_lock",
        "POST /api/v1/users/{user_id}/release_lock",
        "GET /api/v1/events",
        "GET /api/v1/events/stream",
        "GET /health",
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
    }


def test_every_reference_leads_somewhere_and_every_schema_is_one(farm: Farm) -> None:
    body = document(farm)
    schemas = body["components"]["schemas"]

    references = set(re.findall(r'"\$ref": ?"#/components/schemas/([^"]+)"', farm.client.get("/openapi.json").text))
    assert references - set(schemas) == set()
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_call_has_a_summary_and_a_name_of_its_own(farm: Farm) -> None:
    body = operations(farm)

    names = [operation["operationId"] for operation in body.values()]
    assert [name for name, operation in body.items() if not operation.get("summary")] == []
    assert len(set(names)) == len(names)


def test_the_document_says_what_is_really_answered(farm: Farm, user_id: str) -> None:
    answer = document(farm)
    answered = {
        "UserOut": farm.user(user_id),
        "AcquiredOut": farm.acquire(user_id, lease_id=user_id).json(),
        "RenewedOut": farm.renew(user_id, lease_id=user_id).json(),
        "ReleasedOut": farm.release(user_id, lease_id=user_id).json(),
    }

    for name, body in answered.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": answer["components"]}
        assert [error.message for error in Draft202012Validator(schema).iter_errors(body)] == []
        assert set(answer["components"]["schemas"][name]["properties"]) == set(body)


def test_the_document_says_what_may_be_sent(farm: Farm) -> None:
    body = document(farm)
    rows = operations(farm)["POST /api/v1/users/batch"]["requestBody"]["content"]["application/json"]["schema"]

    assert rows["maxItems"] == BATCH_MOST
    assert rows["items"] == {"$ref": "#/components/schemas/UserIn"}
    assert body["components"]["schemas"]["UserIn"]["additionalProperties"] is False
    assert (
        operations(farm)["POST /api/v1/users/{user_id}/acquire_lock"].get("requestBody", {}).get("required") is not True
    )


@pytest.mark.parametrize(
    ("call", "statuses"),
    [
        ("POST /api/v1/users/", {"201", "400", "422"}),
        ("POST /api/v1/users/{user_id}/acquire_lock", {"200", "404", "409", "422", "503"}),
        ("POST /api/v1/users/{user_id}/renew_lock", {"200", "404", "409", "422", "503"}),
        ("POST /api/v1/users/{user_id}/release_lock", {"200", "403", "404", "409", "422", "503"}),
        ("GET /api/v1/users/{user_id}", {"200", "404", "422", "503"}),
        ("GET /api/v1/events", {"200", "400", "409", "410", "422", "503"}),
        ("GET /health", {"200", "503"}),
        ("GET /readyz", {"200", "503"}),
    ],
)
def test_the_document_names_the_errors_of_each_call(farm: Farm, call: str, statuses: set[str]) -> None:
    assert statuses - set(operations(farm)[call]["responses"]) == set()


def test_errors_are_documented_as_the_problem_documents_they_are(farm: Farm) -> None:
    answers = operations(farm)["POST /api/v1/users/{user_id}/acquire_lock"]["responses"]

    for status in ("404", "409", "422", "503"):
        assert list(answers[status]["content"]) == ["application/problem+json"]
