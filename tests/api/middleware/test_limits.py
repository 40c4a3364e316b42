"""What a process takes on of one request: its size, its depth, its time. On the short way as on the long one."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests import patience
from tests.api.farms import USERS, Farm

KIB = 1_024
JSON = {"Content-Type": "application/json"}
PATHS = [f"{USERS}/", f"{USERS}/batch", f"{USERS}/{{user_id}}/acquire_lock", f"{USERS}/acquire_lock"]


@contextlib.contextmanager
def dialled(farm: Farm) -> Iterator[socket.socket]:
    assert farm.client.base_url.port
    with socket.create_connection(
        (farm.client.base_url.host, farm.client.base_url.port), timeout=patience.limit(10)
    ) as connection:
        yield connection


def heard(connection: socket.socket) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body of an answer after which the server has hung up."""
    received = b""
    while some := connection.recv(65_536):
        received += some
    head, _, body = received.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(first.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize("path", PATHS)
def test_headers_over_32_kib_are_too_large(farm: Farm, user_id: str, path: str) -> None:
    headers = {f"X-Padding-{n}": "x" * KIB for n in range(32)}

    answer = farm.client.post(path.format(user_id=user_id), headers=headers)

    assert answer.status_code == 431
    assert answer.json()["type"] == "urn:botfarm:problem:headers-too-large"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Connection"] == "close"
    assert answer.headers["X-Request-ID"]
    assert farm.user(user_id)["lock"] is None


def test_headers_of_30_kib_are_not(farm: Farm, user_id: str) -> None:
    answer = farm.client.post(f"{USERS}/{user_id}/acquire_lock", headers={"X-Padding": "x" * 30 * KIB})

    assert answer.status_code == 200


def test_a_query_over_8_kib_is_too_long_and_one_below_is_judged(farm: Farm) -> None:
    long = farm.client.get(f"{USERS}/?login_prefix={'x' * 8 * KIB}")
    short = farm.client.get(f"{USERS}/?login_prefix={'x' * 200}&limit=1")

    assert long.status_code == 414
    assert long.json()["type"] == "urn:botfarm:problem:uri-too-long"
    assert short.status_code == 200


def test_a_path_over_8_kib_is_too_long_and_is_not_sent_back_whole(farm: Farm) -> None:
    answer = farm.client.get(f"/{'x' * 60 * KIB}")

    assert answer.status_code == 414
    assert len(answer.content) < 9 * KIB


@pytest.mark.parametrize("depth", [150, 300, 1_000, 100_000])
@pytest.mark.parametrize("shape", ["[{}]", '{{"metadata": {}}}', '{{"labels": {}}}', "{}"])
@pytest.mark.parametrize("path", PATHS)
def test_json_that_is_nested_deep_is_invalid_and_no_defect(
    farm: Farm, user_id: str, path: str, shape: str, depth: int
) -> None:
    body = shape.format("[" * depth + "]" * depth)

    answer = farm.client.post(path.format(user_id=user_id), content=body, headers=JSON)

    if path.endswith("/batch") and answer.status_code == 200:  # a bad row fails alone
        assert [result["status"] for result in answer.json()["results"]] == [422]
    else:
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:botfarm:problem:invalid-request"
    assert farm.client.get("/livez").status_code == 200


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr("api.middleware.body_deadline.BODY_SECONDS", 0.5)
    return 0.5


@pytest.mark.parametrize(
    "framing",
    ["Content-Length: 500\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_does_not_come_in_time_is_408_and_the_connection_ends(
    farm: Farm, user_id: str, impatient: float, path: str, framing: str
) -> None:
    place = path.format(user_id=user_id)
    begun = time.monotonic()
    with dialled(farm) as connection:
        head = f"POST {place} HTTP/1.1\r\nHost: farm\r\nContent-Type: application/json\r\n{framing}"
        connection.sendall(head.encode())
        status, headers, problem = heard(connection)

    assert impatient <= time.monotonic() - begun < patience.limit(5)
    assert status == 408
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/problem+json"
    assert problem["type"] == "urn:botfarm:problem:request-timeout"
    assert problem["instance"] == place
    assert farm.user(user_id)["lock"] is None


@pytest.mark.usefixtures("impatient")
def test_a_body_that_comes_drop_by_drop_has_no_more_time_than_another(farm: Farm, user_id: str) -> None:
    with dialled(farm) as connection:
        head = f"POST {USERS}/{user_id}/acquire_lock HTTP/1.1\r\nHost: farm\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 500\r\n\r\n".encode())
        with contextlib.suppress(OSError):  # it hangs up in the middle
            for _ in range(30):
                connection.sendall(b" ")
                time.sleep(0.05)
        status, _, _ = heard(connection)

    assert status == 408


@pytest.mark.usefixtures("impatient")
def test_what_comes_after_the_body_has_all_the_time_it_needs(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id)

    waited = farm.acquire(user_id, wait_seconds=1)

    assert waited.status_code == 409
    assert waited.json()["position"] == 1


@pytest.mark.usefixtures("impatient")
def test_a_body_in_parts_that_comes_in_time_is_one_body(farm: Farm, user_id: str) -> None:
    with dialled(farm) as connection:
        head = f"POST {USERS}/{user_id}/acquire_lock HTTP/1.1\r\nHost: farm\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 19\r\n\r\n".encode())
        for part in (b'{"owner": ', b'"parted"', b"}"):
            connection.sendall(part)
            time.sleep(0.1)
        status, _, answer = heard(connection)

    assert (status, answer["lock"]["owner"]) == (200, "parted")
