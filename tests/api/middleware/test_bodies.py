"""Bodies that are too large, no JSON, or called something else."""

import http.client
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.farms import USERS, Farm

JSON = {"Content-Type": "application/json"}
MIB = 1_048_576
PATHS = [f"{USERS}/", f"{USERS}/batch", f"{USERS}/{{user_id}}/acquire_lock", f"{USERS}/{{user_id}}/release_lock"]


def of_size(size: int) -> bytes:
    """A valid new user in exactly so many bytes."""
    body = json.dumps({"login": f"body-of-{size}"}).encode()
    return body + b" " * (size - len(body))


def in_chunks(body: bytes) -> Iterator[bytes]:
    """Sent chunk by chunk, so that no length is announced."""
    yield from (body[start : start + 65_536] for start in range(0, len(body), 65_536))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_1_mib_is_too_large(farm: Farm, user_id: str, path: str, *, chunked: bool) -> None:
    body = of_size(MIB + 1)

    with httpx.Client(base_url=farm.url) as client:
        answer = client.post(path.format(user_id=user_id), content=in_chunks(body) if chunked else body, headers=JSON)

    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:botfarm:problem:content-too-large"
    assert answer.json()["instance"] == path.format(user_id=user_id)
    assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_1_mib_is_not(farm: Farm, *, chunked: bool) -> None:
    body = of_size(MIB - chunked)

    answer = farm.client.post(f"{USERS}/", content=in_chunks(body) if chunked else body, headers=JSON)

    assert answer.status_code == 201


def test_an_announced_length_is_refused_before_the_body_is_sent(farm: Farm) -> None:
    connection = http.client.HTTPConnection(urlsplit(farm.url).netloc)
    connection.putrequest("POST", f"{USERS}/")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "99999999999")
    connection.endheaders()

    answer = connection.getresponse()
    connection.close()

    assert answer.status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'login': 'a'}",
        b"login=a",
        b'{"login": "a",}',
        b'{"login": "tab\there"}',
        b"\xff\xfe\x00",
        b'{"login": "\xc3("}',
        b" ",
        b"\0",
        b"[" * 100_000,
        b'{"login": ' + b"1" * 10_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_json_is_invalid(farm: Farm, body: bytes) -> None:
    answer = farm.client.post(f"{USERS}/", content=body, headers=JSON)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:botfarm:problem:invalid-request"
    assert [error["loc"][0] for error in answer.json()["errors"]] == ["body"]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"]
)
@pytest.mark.parametrize("path", [f"{USERS}/", f"{USERS}/{{user_id}}/acquire_lock"])
def test_json_must_be_called_json(farm: Farm, user_id: str, path: str, content_type: str | None) -> None:
    """A form of another site can send any other type without asking; this one needs leave that nobody gives."""
    headers = {} if content_type is None else {"Content-Type": content_type}

    answer = farm.client.post(path.format(user_id=user_id), content=b'{"login": "uncalled"}', headers=headers)

    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:botfarm:problem:invalid-request"
    assert farm.user(user_id)["lock"] is None


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "application/x+json"])
def test_json_may_be_called_by_any_of_its_names(farm: Farm, user_id: str, content_type: str) -> None:
    answer = farm.client.post(
        f"{USERS}/{user_id}/acquire_lock", content=b'{"owner": "named"}', headers={"Content-Type": content_type}
    )

    assert answer.json()["lock"]["owner"] == "named"
