"""How much a process takes on at once, and how often one caller may call it."""

import contextlib
import resource
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api.limits import Limits, rate_of
from domain.settings import Settings
from tests.api.farms import EVENTS, LINE, USERS, Farm, farming
from tests.api.listeners import listening
from tests.api.servers import ApiProcess, eventually

Crowded = Callable[..., Farm]


@pytest.fixture
def crowded(settings: Settings) -> Iterator[Crowded]:
    """A farm with settings of the test's choice."""
    with contextlib.ExitStack() as stack:

        def make(**changes: object) -> Farm:
            return stack.enter_context(farming(settings.model_copy(update=changes)))

        yield make


def check_overloaded(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:botfarm:problem:overloaded"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def open_calls(farm: Farm) -> int:
    layer: Any = farm.app.front
    while not isinstance(layer, Limits):
        layer = layer._app
    return layer.open


def test_calls_beyond_those_that_may_be_open_are_refused_and_places_come_free_again(crowded: Crowded) -> None:
    farm = crowded(concurrency=4)
    held = str(farm.new_user()["id"])
    farm.acquire(held)
    waiting = [farm.meanwhile(farm.acquire, held, wait_seconds=2) for _ in range(4)]
    assert eventually(lambda: open_calls(farm) == 4)

    refused, hot, health = farm.client.get(f"{USERS}/"), farm.acquire(held), farm.client.get("/readyz")

    check_overloaded(refused)
    check_overloaded(hot)
    assert health.status_code == 200  # who looks after the process is always answered
    assert [call.result().status_code for call in waiting] == [409] * 4
    assert eventually(lambda: open_calls(farm) == 0)
    assert farm.client.get(f"{USERS}/").status_code == 200


def test_streams_take_no_more_than_half_of_the_places(crowded: Crowded) -> None:
    farm = crowded(concurrency=4)

    with listening(f"{farm.url}{EVENTS}/stream"), listening(f"{farm.url}{EVENTS}/stream"):
        assert eventually(lambda: open_calls(farm) == 2)
        third, other = farm.client.get(f"{EVENTS}/stream"), farm.client.get(f"{USERS}/")

    check_overloaded(third)
    assert other.status_code == 200
    assert eventually(lambda: open_calls(farm) == 0)  # also those who hang up give their place back


def test_a_caller_beyond_its_rate_is_told_when_to_come_back(crowded: Crowded) -> None:
    farm = crowded(rate_limit="5/minute")

    answers = [farm.client.get(f"{USERS}/") for _ in range(7)]
    hot = farm.client.post(f"{USERS}/acquire_lock", json={})

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    for refused in (answers[-1], hot):
        assert refused.status_code == 429
        assert refused.json()["type"] == "urn:botfarm:problem:rate-limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.headers["X-Request-ID"]
    assert farm.client.get("/health").status_code == 200
    assert farm.client.get("/metrics").text.count('status="429"') == 2  # by route: unknown for both methods


def test_a_rate_comes_anew_with_its_window(crowded: Crowded) -> None:
    farm = crowded(rate_limit="2/second")

    assert eventually(lambda: farm.client.get(f"{USERS}/").status_code == 429)
    assert eventually(lambda: farm.client.get(f"{USERS}/").status_code == 200, seconds=3)


def test_without_keys_a_made_up_key_is_no_way_round_the_rate(crowded: Crowded) -> None:
    farm = crowded(rate_limit="3/minute")

    codes = [
        farm.client.get(f"{USERS}/", headers={"Authorization": f"Bearer made-up-{n}"}).status_code for n in range(5)
    ]

    assert codes == [200] * 3 + [429] * 2


def test_with_keys_each_has_a_rate_of_its_own(crowded: Crowded) -> None:
    farm = crowded(rate_limit="3/minute", auth="keys")

    def called(key: str) -> bool:
        """Whatever else becomes of the call: it was not one too many."""
        return farm.client.get(f"{USERS}/", headers={"Authorization": f"Bearer {key}"}).status_code != 429

    assert [called("one") for _ in range(5)] == [True] * 3 + [False] * 2
    assert called("other")


def test_without_a_rate_nobody_is_counted(farm: Farm) -> None:
    codes = {farm.client.get("/openapi.json").status_code for _ in range(50)}

    assert codes == {200}


@pytest.mark.parametrize("text", ["often", "600", "0/second", "/second", "-1/second", "600/fortnight"])
def test_a_rate_that_is_none_is_told_by_its_setting(text: str) -> None:
    with pytest.raises(ValueError, match="BOTFARM_RATE_LIMIT"):
        rate_of(text)


@contextlib.contextmanager
def held_open(url: str, head: str, *, count: int) -> Iterator[list[socket.socket]]:
    """The bare connections of so many calls."""
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = socket.create_connection((address.hostname, address.port), timeout=30)
            opened.append(stack.enter_context(connection))
            connection.sendall(head.encode())
        yield opened


def answered(connections: Sequence[socket.socket]) -> int:
    """To how many of them something has come."""
    poller = select.poll()
    for connection in connections:
        poller.register(connection, select.POLLIN)
    return len(poller.poll(0))


@pytest.mark.chaos
def test_a_thousand_that_wait_and_a_thousand_streams_leave_room_for_everybody_else(process: ApiProcess) -> None:
    process.start()
    with httpx.Client(base_url=process.url, timeout=60) as client, many_files():
        held, free = (str(client.post(f"{USERS}/", json={"login": login}).json()["id"]) for login in ("a", "b"))
        client.post(f"{USERS}/{held}/acquire_lock", json={})
        wait = f"POST {USERS}/{held}/acquire_lock HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        wait += 'Content-Length: 20\r\n\r\n{"wait_seconds": 60}'
        stream = f"GET {EVENTS}/stream?after=latest HTTP/1.1\r\nHost: a\r\n\r\n"

        with held_open(process.url, wait, count=1_000) as waits, held_open(process.url, stream, count=1_000) as streams:
            began = {connection.recv(15) for connection in streams}
            waiting = client.get(LINE, params={"limit": 1_000}).json()
            cycle = [client.post(f"{USERS}/{free}/{verb}_lock").status_code for verb in ["acquire", "release"] * 10]

            assert began == {b"HTTP/1.1 200 OK"}
            assert len(waiting) == 1_000
            assert cycle == [200] * 20
            assert answered(waits) == 0


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4_096:
        pytest.skip(f"this system allows a process {hard} open files, too few for two thousand connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4_096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
