"""The order of answers on one connection, and what is refused without a call."""

import json
import subprocess

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests import patience
from tests.api.farms import NOBODY, USERS, Farm
from tests.api.servers import serving
from tests.hostile.callers import Answer
from tests.hostile.shapes import CALLS, CHUNKED, FIRST, H2C, LAST, WHOLE, head
from tests.hostile.test_framing import without_lifespan
from tests.hostile.wires import Shape, exchange

GARBAGE = b"\x16\x03\x01 nothing that is HTTP\r\n\r\n"
CUT = b"POST /api/v1/users/batch HTTP/1.1\r\nHost: farm\r\n" + CHUNKED.encode() + b"\r\n\r\nzz\r\n"
TRAILER = b"X-Request-ID: of-a-trailer\r\nX-Late: 1\r\n"


def kinds(answers: list[Answer]) -> list[str]:
    bodies = [json.loads(answer.body) for answer in answers]
    return [str(body.get("type", "")).removeprefix("urn:botfarm:problem:") for body in bodies]


@pytest.mark.parametrize(
    ("broken", "kind"), [(GARBAGE, "malformed-request"), (CUT, "body-incomplete")], ids=["garbage", "cut"]
)
@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("together", [True, False])
def test_a_refusal_is_sent_after_the_responses_of_earlier_calls(
    farm: Farm, user_id: str, broken: bytes, kind: str, before: int, *, together: bool
) -> None:
    """Sent first, it would be taken for the answer to an acquire that was granted."""
    acquire = f"POST {USERS}/{user_id}/acquire_lock HTTP/1.1\r\nHost: farm\r\n\r\n".encode()
    pieces = (acquire, *[FIRST] * (before - 1), broken)

    answers = exchange(farm.url, Shape((b"".join(pieces),) if together else pieces))

    assert [answer.status for answer in answers] == [200] * before + [400]
    assert kinds(answers)[-1] == kind
    assert farm.user(user_id)["lock"]


def test_no_call_after_a_refused_one_is_executed(farm: Farm, user_id: str) -> None:
    acquire = f"POST {USERS}/{user_id}/acquire_lock HTTP/1.1\r\nHost: farm\r\n\r\n".encode()

    answers = exchange(farm.url, Shape((FIRST + CUT + acquire, acquire)))

    assert [answer.status for answer in answers] == [200, 400]
    assert farm.user(user_id)["lock"] is None


@pytest.mark.parametrize("target", [f"{USERS}/acquire_lock", "farm:443"])
@pytest.mark.parametrize("before", [b"", FIRST])
def test_connect_is_refused_and_the_bytes_after_it_are_not_read(
    farm: Farm, user_id: str, target: str, before: bytes
) -> None:
    acquire = f"POST {USERS}/{user_id}/acquire_lock HTTP/1.1\r\nHost: farm\r\n\r\n".encode()
    connect = f"CONNECT {target} HTTP/1.1\r\nHost: farm\r\nContent-Length: 2\r\n\r\n{{}}".encode()

    answers = exchange(farm.url, Shape((before + connect + acquire, acquire)))

    assert [answer.status for answer in answers] == [200] * bool(before) + [400]
    assert farm.user(user_id)["lock"] is None


def test_a_refusal_outside_any_call_has_the_headers_of_every_response(farm: Farm) -> None:
    [answer] = exchange(farm.url, Shape((GARBAGE,)))

    lines = answer.head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert b"x-content-type-options: nosniff" in lines
    assert any(line.startswith(b"x-request-id: ") for line in lines)


def test_a_length_shorter_than_the_body_makes_no_second_call_of_the_rest(farm: Farm, user_id: str) -> None:
    body = b'{"lease_id": "' + NOBODY.encode() + b'"}'
    declared = head(CALLS["release by a lost lease"], user_id, f"Content-Length: {len(body) - 1}")
    farm.acquire(user_id, owner="live")

    answers = exchange(farm.url, Shape((declared + body,)))

    assert [answer.status for answer in answers] == [422, 400]
    assert farm.user(user_id)["lock"]["owner"] == "live"


@pytest.mark.parametrize("lines", [(), H2C], ids=["plain", "h2c"])
def test_a_trailer_does_not_become_a_header_of_the_call(farm: Farm, lines: tuple[str, ...]) -> None:
    call = CALLS["read"]
    sent = head(call, NOBODY, *lines, CHUNKED) + b"2\r\n{}\r\n0\r\n" + TRAILER + b"\r\n"

    [answer, _] = exchange(farm.url, Shape((sent, FIRST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))))

    assert answer.status == 404
    assert b"of-a-trailer" not in answer.head


def test_uvicorns_own_protocol_makes_a_trailer_a_header_and_sends_a_refusal_first(farm: Farm) -> None:
    """The negative controls of this file."""
    seen: list[object] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    sent = head(CALLS["read"], NOBODY, CHUNKED) + b"2\r\n{}\r\n0\r\n" + TRAILER + b"\r\n" + GARBAGE
    with serving(without_lifespan(app), http=HttpToolsProtocol) as url:
        answers = exchange(url, Shape((sent,)))

    assert [answer.status for answer in answers] == [400]
    assert "of-a-trailer" in str(seen)


@pytest.mark.parametrize(
    "options", [["--http2"], ["--http2", "--expect100-timeout", "5", "-H", "Expect: 100-continue"]]
)
def test_curl_with_http2_does_not_release_the_lock_of_another_job(farm: Farm, user_id: str, options: list[str]) -> None:
    farm.acquire(user_id, owner="live")
    url = f"{farm.url}{USERS}/{user_id}/release_lock"
    body = ["-d", f'{{"lease_id": "{NOBODY}"}}', "-H", "Content-Type: application/json"]
    try:
        curl = subprocess.run(
            ["curl", "-s", *options, *body, url], capture_output=True, timeout=patience.limit(60), check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no curl here; the raw offers above are the same bytes")
    if curl.returncode == 2:
        pytest.skip("this curl knows no HTTP/2")

    assert json.loads(curl.stdout)["type"] == "urn:botfarm:problem:lease-lost"
    assert farm.user(user_id)["lock"]["owner"] == "live"


def test_a_connection_stays_open_over_many_offers(farm: Farm, user_id: str) -> None:
    call = CALLS["read"]
    one = WHOLE["h2c"](call, user_id).pieces[0].removesuffix(LAST)

    answers = exchange(farm.url, Shape((one * 200, WHOLE["h2c"](call, user_id).pieces[0])))

    assert [answer.status for answer in answers] == [200] * 202
