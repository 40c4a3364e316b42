"""The layer that counts bodies, called as any ASGI server may call it."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Scope

from domain.configuration.settings import Settings
from tests.api.farms import NOBODY, USERS, Farm, farming
from tests.hostile.records import Records

JSON = (b"content-type", b"application/json")
CHUNKED = (b"transfer-encoding", b"chunked")
GONE: Message = {"type": "http.disconnect"}
TARGETS = [
    ("POST", f"{USERS}/USER/acquire_lock"),
    ("POST", f"{USERS}/USER/release_lock"),
    ("POST", f"{USERS}/USER/renew_lock"),
    ("POST", f"{USERS}/acquire_lock"),
    ("POST", f"{USERS}/release_lock"),
    ("POST", f"{USERS}/batch"),
    ("POST", f"{USERS}/"),
    ("PATCH", f"{USERS}/USER"),
    ("DELETE", f"{USERS}/USER"),
    ("DELETE", f"/api/v1/lock_requests/{NOBODY}"),
    ("GET", f"{USERS}/USER"),
    ("HEAD", f"{USERS}/USER"),
    ("GET", "/api/v1/events/stream"),
    ("GET", "/livez"),
    ("PUT", f"{USERS}/"),
    ("CONNECT", f"{USERS}/USER/release_lock"),
    ("POST", "/api/v1/keys/"),
    ("POST", "/api/v1/webhooks/"),
    ("POST", "/static/none"),
]


def length(value: bytes) -> tuple[bytes, bytes]:
    return b"content-length", value


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


NOT_WHOLE: dict[str, tuple[Sequence[tuple[bytes, bytes]], Sequence[Message]]] = {
    "nothing of a length": ([length(b"45")], [part(b"")]),
    "a message without a body": ([length(b"45")], [{"type": "http.request"}]),
    "too little": ([length(b"45")], [part(b"{}")]),
    "too much": ([length(b"1")], [part(b"{}")]),
    "too little in parts": ([length(b"45")], [part(b"{", more=True), part(b"}")]),
    "client gone": ([length(b"2")], [GONE]),
    "client gone in the middle": ([length(b"2")], [part(b"{", more=True), GONE]),
    "client gone behind the last byte": ([length(b"2")], [part(b"{}", more=True), GONE]),
    "chunked, client gone": ([CHUNKED], [GONE]),
    "chunked, client gone in the middle": ([CHUNKED], [part(b"{}", more=True), GONE]),
    "chunked, dropped beside an offer": ([CHUNKED, (b"upgrade", b"h2c")], [part(b"")]),
    "chunked and length": ([CHUNKED, length(b"2")], [part(b"{}")]),
    "two lengths": ([length(b"2"), length(b"0")], [part(b"{}")]),
    "one length twice": ([length(b"2"), length(b"2")], [part(b"{}")]),
    "a list of lengths": ([length(b"2, 2")], [part(b"{}")]),
    "a signed length": ([length(b"+2")], [part(b"{}")]),
    "a length in other digits": ([length("٢".encode())], [part(b"{}")]),
    "an empty length": ([length(b"")], [part(b"{}")]),
    "a length in words": ([length(b"two")], [part(b"{}")]),
}


@pytest.fixture(scope="module")
def own_farm(fresh_settings: Callable[[], Settings]) -> Iterator[Farm]:
    """A farm in which nothing happens but what this module does."""
    with farming(fresh_settings()) as farm:
        yield farm


def called(
    app: ASGIApp, method: str, path: str, headers: Sequence[tuple[bytes, bytes]], messages: Sequence[Message]
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of the answer. The client has hung up behind the last of the messages."""
    sent: list[Any] = []
    left = iter(messages)

    async def receive() -> Message:
        return next(left, GONE)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), JSON, *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    asyncio.run(asyncio.wait_for(_run(app, scope, receive, send), 30))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:])


async def _run(app: ASGIApp, *call: Any) -> None:
    await app(*call)


@pytest.mark.parametrize(("method", "path"), TARGETS, ids=str)
@pytest.mark.parametrize(("headers", "messages"), NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_a_body_that_is_not_what_was_announced_is_400_whatever_the_server(
    own_farm: Farm,
    method: str,
    path: str,
    headers: Sequence[tuple[bytes, bytes]],
    messages: Sequence[Message],
) -> None:
    user_id = str(own_farm.new_user()["id"])
    if path.endswith("release_lock"):
        own_farm.acquire(user_id, owner="live")
    before = Records.of(own_farm)

    status, answered, body = called(own_farm.app, method, path.replace("USER", user_id), headers, messages)

    assert status == 400
    assert b"urn:botfarm:problem:body-incomplete" in body
    assert answered[b"content-type"] == b"application/problem+json"
    assert answered[b"connection"] == b"close"
    assert answered[b"x-request-id"]
    assert Records.of(own_farm) == before


@pytest.mark.parametrize("value", [b"1048577", b"9" * 30, b"9" * 5_000, b"0" * 5_000 + b"1048577"], ids=len)
def test_a_length_beyond_the_limit_is_413_however_long_its_number(own_farm: Farm, value: bytes) -> None:
    status, _, _ = called(own_farm.app, "GET", "/livez", [length(value)], [])

    assert status == 413


def test_a_chunked_body_beyond_the_limit_is_413_on_a_route_that_reads_none(own_farm: Farm) -> None:
    user_id = str(own_farm.new_user()["id"])

    status, _, _ = called(
        own_farm.app, "DELETE", f"{USERS}/{user_id}", [CHUNKED], [part(b" " * 600_000, more=True)] * 2
    )

    assert status == 413
    assert own_farm.user(user_id)["id"] == user_id


WHOLE: dict[str, tuple[Sequence[tuple[bytes, bytes]], Sequence[Message]]] = {
    "nothing announced": ([], [part(b"")]),
    "a length of nothing": ([length(b"0")], [part(b"")]),
    "a length of zeros": ([length(b"000")], [part(b"")]),
    "a length": ([length(b"2")], [part(b"{}")]),
    "a length with spaces": ([length(b" 2\t")], [part(b"{}")]),
    "a length with zeros before it": ([length(b"0" * 5_000 + b"2")], [part(b"{}")]),
    "in parts": ([length(b"2")], [part(b"", more=True), part(b"{", more=True), part(b"}", more=True), part(b"")]),
    "chunked": ([CHUNKED], [part(b"{", more=True), part(b"}")]),
    "chunked and empty": ([CHUNKED], [part(b"")]),
    "chunked beside an offer": ([CHUNKED, (b"upgrade", b"h2c")], [part(b"{}")]),
}


@pytest.mark.parametrize(("headers", "messages"), WHOLE.values(), ids=WHOLE)
def test_a_body_that_is_what_was_announced_is_taken(
    own_farm: Farm, headers: Sequence[tuple[bytes, bytes]], messages: Sequence[Message]
) -> None:
    user_id = str(own_farm.new_user()["id"])

    status, _, _ = called(own_farm.app, "DELETE", f"{USERS}/{user_id}", headers, messages)

    assert status == 204
    assert own_farm.client.get(f"{USERS}/{user_id}").status_code == 404


def test_a_call_that_announces_no_body_is_not_read_before_its_route(own_farm: Farm) -> None:
    """Here nothing ever comes from the client, as on an event stream."""

    async def silent() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def ask() -> int:
        started = asyncio.get_running_loop().create_future()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.set_result(message["status"])

        scope: Scope = {"type": "http", "method": "GET", "path": "/livez", "raw_path": b"/livez", "query_string": b""}
        scope.update(headers=[], client=None, server=None, root_path="", scheme="http", state={})
        await asyncio.wait_for(own_farm.app(scope, silent, send), 30)
        return int(await started)

    assert asyncio.run(ask()) == 200
