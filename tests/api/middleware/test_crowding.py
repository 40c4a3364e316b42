"""How much a process takes on at once."""

import contextlib
import resource
import select
import socket
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api.middleware.limits import Limits
from tests import patience
from tests.api.events.listeners import listening
from tests.api.farms import EVENTS, LINE, USERS, Crowded, Farm
from tests.api.servers import ApiProcess
from tests.patience import eventually

USUAL_FILES = 1_024  # that a shell allows a process, which may ask for more
MANY_FILES = 4_096


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


@contextlib.contextmanager
def held_open(url: str, head: str, *, count: int) -> Iterator[list[socket.socket]]:
    """The bare connections of so many calls."""
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = socket.create_connection((address.hostname, address.port), timeout=patience.limit(30))
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
@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < MANY_FILES,
    reason="this system allows a process too few open files for two thousand connections",
)
def test_a_thousand_that_wait_and_a_thousand_streams_leave_room_for_everybody_else(process: ApiProcess) -> None:
    with open_files(USUAL_FILES):
        process.start()
    with httpx.Client(base_url=process.url, timeout=patience.limit(60)) as client, open_files(MANY_FILES):
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
def open_files(count: int) -> Iterator[None]:
    """So many may be open, in this process and in those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
