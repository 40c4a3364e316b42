"""The short way of hot routes is a shortcut through the contract, never a second one."""

import json
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from api.middleware import fast_routes
from api.middleware.fast_routes import FastRoutes
from tests.api.farms import NOBODY, USERS, Farm

PLAIN, ORDINARY = "application/json", "application/json; charset=utf-8"
MOMENT = re.compile(r"20\d\d-\d\d-\d\dT[\d:.]+Z")


@pytest.fixture
def short_ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were served the short way."""
    served: list[str] = []
    original = FastRoutes._serve

    async def serve(self: FastRoutes, *args: Any) -> None:
        served.append(args[3]["path"])
        await original(self, *args)

    monkeypatch.setattr(FastRoutes, "_serve", serve)
    return served


def call(farm: Farm, path: str, body: bytes, kind: str = PLAIN) -> httpx.Response:
    return farm.client.post(path, content=body, headers={"Content-Type": kind} if body else {})


def seen_by_caller(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    """What a caller is told, without that which differs from call to call."""
    passing = {"date", "x-request-id", "content-length", "retry-after"}
    headers = {name: value for name, value in answer.headers.items() if name not in passing}
    return answer.status_code, headers, json.loads(MOMENT.sub("then", answer.text))


def test_the_calls_that_a_plain_client_makes_take_the_short_way(
    farm: Farm, user_id: str, short_ways: list[str]
) -> None:
    lease_id = str(uuid.uuid4())
    job = farm.new_user(env="hot-way")

    farm.client.post(f"{USERS}/{user_id}/acquire_lock")
    farm.client.post(f"{USERS}/{user_id}/release_lock")
    farm.acquire(user_id, lease_id=lease_id)
    farm.renew(user_id, lease_id=lease_id)
    farm.release(user_id, lease_id=lease_id)
    granted = farm.pool(env="hot-way").json()["users"][0]
    farm.renew_all(leases=[{"user_id": job["id"], "lease_id": granted["lease_id"]}])
    farm.release_all(leases=[{"user_id": job["id"], "lease_id": granted["lease_id"]}])

    verbs = [path.removeprefix(USERS).replace(user_id, "{}") for path in short_ways]
    single = ["acquire_lock", "release_lock", "acquire_lock", "renew_lock", "release_lock"]
    assert verbs == [f"/{{}}/{verb}" for verb in single] + ["/acquire_lock", "/renew_lock", "/release_lock"]


def test_both_ways_grant_renew_and_release_alike(farm: Farm, short_ways: list[str]) -> None:
    lease_id = str(uuid.uuid4())
    bodies = {
        "acquire_lock": {"lease_id": lease_id, "owner": "ärger\U0001f600", "metadata": {"a": "1"}, "ttl_seconds": 60},
        "renew_lock": {"lease_id": lease_id, "ttl_seconds": 70},
        "release_lock": {"lease_id": lease_id},
    }
    ways = {}

    for kind in (PLAIN, ORDINARY):
        user = farm.new_user(password="s3cret", labels={"a": "b"}, project_id=NOBODY)
        answers = [
            call(farm, f"{USERS}/{user['id']}/{verb}", json.dumps(body).encode(), kind) for verb, body in bodies.items()
        ]
        ways[kind] = (
            json.dumps([seen_by_caller(answer) for answer in answers])
            .replace(user["id"], "id")
            .replace(user["login"], "")
        )

    assert len(short_ways) == 3
    assert re.sub(r'"ttl_seconds": [\d.]+', "", ways[PLAIN]) == re.sub(r'"ttl_seconds": [\d.]+', "", ways[ORDINARY])
    assert [status for status, _, _ in json.loads(ways[PLAIN])] == [200, 200, 200]


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("acquire_lock", {}),
        ("renew_lock", {"lease_id": NOBODY}),
        ("release_lock", {"lease_id": NOBODY}),
        ("release_lock", {"force": True, "reason": "why"}),
        ("acquire_lock", {"ttl_seconds": 86_401}),
    ],
)
def test_both_ways_refuse_alike(farm: Farm, verb: str, body: dict[str, Any], short_ways: list[str]) -> None:
    user_id = farm.new_user()["id"]
    if verb == "acquire_lock":
        farm.acquire(user_id)
        short_ways.clear()
    content = json.dumps(body).encode()

    short, long = (call(farm, f"{USERS}/{user_id}/{verb}", content, kind) for kind in (PLAIN, ORDINARY))

    assert len(short_ways) == 1
    assert seen_by_caller(short) == seen_by_caller(long)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"nothing": 1}',
        b'{"ttl_seconds": "60"}',
        b'{"ttl_seconds": true}',
        b'{"ttl_seconds": 0}',
        b'{"ttl_seconds": 1e400}',
        b'{"ttl_seconds": NaN}',
        b'{"lease_id": "short"}',
        b'{"owner": "\\ud800"}',
        b'{"owner": "\\u0000"}',
        b'{"owner": "\xff"}',
        b'{"owner": ""}',
        b'{"metadata": {"a": 1}}',
        b'{"priority": 101}',
        b"\xef\xbb\xbf{}",
        b" {} ",
        b'{"ttl_seconds": 60, "ttl_seconds": 61}',
        b"[" * 5_000,
        b'{"ttl_seconds": ' + b"9" * 5_000 + b"}",
    ],
)
def test_both_ways_judge_a_body_alike(farm: Farm, body: bytes) -> None:
    short, long = (call(farm, f"{USERS}/{NOBODY}/acquire_lock", body, kind) for kind in (PLAIN, ORDINARY))

    assert seen_by_caller(short) == seen_by_caller(long)


@pytest.mark.parametrize(
    "path", [f"{USERS}/{NOBODY[:-1]}x/acquire_lock", f"{USERS}/short/acquire_lock", f"{USERS}/{NOBODY}/acquire_lock/"]
)
def test_paths_that_are_not_plain_are_answered_as_ever(farm: Farm, path: str, short_ways: list[str]) -> None:
    assert farm.client.post(path).status_code in (404, 422)
    assert short_ways == []


def test_a_query_is_refused_by_name_and_nothing_is_locked(farm: Farm, user_id: str, short_ways: list[str]) -> None:
    answer = farm.client.post(f"{USERS}/{user_id}/acquire_lock?ttl=5")

    assert answer.json()["errors"][0]["loc"] == ["query", "ttl"]
    assert short_ways == []
    assert farm.user(user_id)["lock"] is None


def test_a_body_in_pieces_is_read_as_a_whole(farm: Farm, user_id: str, short_ways: list[str]) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"own'
        yield b'er": "pieces"}'

    answer = farm.client.post(
        f"{USERS}/{user_id}/acquire_lock", content=pieces(), headers={"Content-Type": "application/json"}
    )

    assert answer.json()["lock"]["owner"] == "pieces"
    assert len(short_ways) == 1


@pytest.mark.parametrize("length", ["announced", "not announced"])
def test_a_body_that_is_too_large_is_413_and_locks_nothing(farm: Farm, user_id: str, length: str) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    content = b" " * 2_000_000 if length == "announced" else pieces()

    answer = farm.client.post(
        f"{USERS}/{user_id}/acquire_lock", content=content, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 413
    assert farm.user(user_id)["lock"] is None


def test_a_caller_who_hangs_up_before_its_body_has_come_locks_nothing(farm: Farm, user_id: str) -> None:
    assert farm.client.base_url.port
    with socket.create_connection((farm.client.base_url.host, farm.client.base_url.port)) as connection:
        head = f"POST {USERS}/{user_id}/acquire_lock HTTP/1.1\r\nHost: farm\r\nContent-Type: application/json\r\n"
        connection.sendall(head.encode() + b"Content-Length: 30\r\n\r\n")
    farm.client.get("/livez")
    another = farm.acquire(user_id)

    assert another.status_code == 200


def test_answers_of_the_short_way_carry_the_request_id(farm: Farm, user_id: str, short_ways: list[str]) -> None:
    path = f"{USERS}/{user_id}/acquire_lock"

    mine = farm.client.post(path, headers={"X-Request-ID": "mine-1"})
    refused = farm.client.post(path, headers={"X-Request-ID": "mine-2"})
    unfit = farm.client.post(path, headers={"X-Request-ID": "two words"})

    assert (mine.headers["X-Request-ID"], refused.headers["X-Request-ID"]) == ("mine-1", "mine-2")
    assert re.fullmatch(r"[0-9a-f]{32}", unfit.headers["X-Request-ID"])
    assert len(short_ways) == 3


def test_a_defect_on_the_short_way_is_a_500_with_the_id_to_quote(
    farm: Farm, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("api.locking.lock_answers.of_grant", break_down)

    answer = farm.client.post(f"{USERS}/{user_id}/acquire_lock", headers={"X-Request-ID": "defect-1"})

    assert answer.status_code == 500
    assert "defect-1" in answer.json()["detail"]
    assert "secret" not in answer.text


def test_an_endpoint_that_takes_what_the_short_way_cannot_give_is_refused_at_once() -> None:
    async def endpoint(surprise: int) -> Any:
        return surprise

    with pytest.raises(TypeError, match="surprise"):
        fast_routes.route(endpoint)


@pytest.mark.parametrize(
    "spell",
    [
        lambda digits: f"urn:{digits}",
        lambda digits: f"{digits}----",
        lambda digits: f"{digits[:8]}----{digits[8:]}",
        lambda digits: str(uuid.UUID(digits)).translate({ord("0") + n: 0x660 + n for n in range(10)}),
    ],
    ids=["urn", "hyphens at the end", "hyphens at one place", "digits of another script"],
)
def test_what_is_no_uuid_the_long_way_is_none_the_short_way(
    farm: Farm, user_id: str, spell: Callable[[str], str]
) -> None:
    odd = spell(user_id.replace("-", ""))

    answer = farm.client.post(f"{USERS}/{odd}/acquire_lock")

    assert uuid.UUID(odd) == uuid.UUID(user_id)  # Python would take it
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["path", "user_id"])
    assert farm.user(user_id)["lock"] is None


def test_a_uuid_in_capitals_takes_the_short_way(farm: Farm, user_id: str, short_ways: list[str]) -> None:
    assert farm.client.post(f"{USERS}/{user_id.upper()}/acquire_lock").status_code == 200
    assert len(short_ways) == 1
