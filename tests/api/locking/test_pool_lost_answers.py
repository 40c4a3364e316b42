"""A client whose answer was lost asks again: it gets what it has, and nothing is held that nobody knows of."""

import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests import patience
from tests.api.farms import USERS, Farm
from tests.api.locking.pools import Pool, ids, leases, new_pool, state
from tests.patience import eventually


class Cutter:
    """A network that carries requests to the server and loses every answer, cutting the connection instead."""

    def __init__(self, farm: Farm) -> None:
        self._target = (farm.client.base_url.host, farm.client.base_url.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lost: list[bytes] = []
        threading.Thread(target=self._accept, name="cutter", daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            server.sendall(request(client))
            self.lost.append(server.recv(65_536))


def request(client: socket.socket) -> bytes:
    """One whole HTTP request."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    while len(body) < length:
        body += client.recv(65_536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def cutter(farm: Farm) -> Iterator[Cutter]:
    cutter = Cutter(farm)
    yield cutter
    cutter.close()


@pytest.fixture
def pool(farm: Farm) -> Pool:
    """Four free users."""
    return new_pool(farm, 4)


def lose(cutter: Cutter, path: str, **body: Any) -> None:
    """Make the call through the cutter: the server has done it and said so, and nobody was there to hear."""
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{cutter.url}{USERS}{path}", json=body, timeout=patience.limit(30))
    (answer,) = cutter.lost
    assert answer.startswith(b"HTTP/1.1 200"), answer


def test_the_same_lease_of_one_user_is_had_by_asking_again(farm: Farm, pool: Pool, cutter: Cutter) -> None:
    user_id, lease_id = pool.user_ids[0], str(uuid.uuid4())

    lose(cutter, f"/{user_id}/acquire_lock", lease_id=lease_id)
    again = farm.acquire(user_id, lease_id=lease_id)

    assert again.json()["lease_id"] == lease_id
    assert farm.changes(user_id) == ["user.created", "lock.acquired"]


@pytest.mark.parametrize("wait_seconds", [0, 10])
def test_the_same_leases_of_a_pool_are_had_by_asking_again(pool: Pool, cutter: Cutter, wait_seconds: int) -> None:
    wish = {"project_id": pool.project_id, "count": 2, "request_id": str(uuid.uuid4())}

    lose(cutter, "/acquire_lock", **wish, wait_seconds=wait_seconds)
    again = pool.farm.pool(**wish).json()

    assert again["lost"] == []
    assert sorted(ids(again)) == sorted(pool.locked())
    assert len(pool.locked()) == 2


@pytest.mark.parametrize("wait_seconds", [0, 10])
def test_a_request_that_had_to_wait_is_had_by_asking_again(pool: Pool, cutter: Cutter, wait_seconds: int) -> None:
    farm, held = pool.farm, pool.take(count=4)
    wish: dict[str, Any] = {"project_id": pool.project_id, "count": 2, "request_id": str(uuid.uuid4())}

    with threads() as run:
        run(lose, cutter, "/acquire_lock", **wish, wait_seconds=20)
        assert eventually(lambda: state(farm, wish["request_id"]) == "waiting")
        farm.release_all(leases=leases(held["users"]))
    again = farm.pool(**wish, wait_seconds=wait_seconds).json()

    assert again["lost"] == []
    assert sorted(ids(again)) == sorted(pool.locked())
    assert len(pool.locked()) == 2


@pytest.mark.parametrize("wait_seconds", [0, 10])
def test_one_user_that_had_to_be_waited_for_is_had_by_asking_again(
    pool: Pool, cutter: Cutter, wait_seconds: int
) -> None:
    farm, user_id, lease_id = pool.farm, pool.user_ids[0], str(uuid.uuid4())
    farm.acquire(user_id)

    with threads() as run:
        run(lose, cutter, f"/{user_id}/acquire_lock", lease_id=lease_id, wait_seconds=20)
        assert eventually(lambda: state(farm, lease_id) == "waiting")
        farm.release(user_id)
    again = farm.acquire(user_id, lease_id=lease_id, wait_seconds=wait_seconds)

    assert again.json()["lease_id"] == lease_id
    assert farm.changes(user_id) == ["user.created", "lock.acquired", "lock.released", "lock.acquired"]


def test_a_lost_release_of_many_may_be_said_again(farm: Farm, pool: Pool, cutter: Cutter) -> None:
    wish = {"leases": leases(pool.take(count=4)["users"])}

    lose(cutter, "/release_lock", **wish)
    again = farm.release_all(**wish).json()

    assert again["released"] == wish["leases"]
    assert again["lost"] == []


@contextlib.contextmanager
def threads() -> Iterator[Any]:
    """Run something on a thread that is joined at the end; its failure is the test's."""
    with ThreadPoolExecutor() as pool:
        started: list[Any] = []
        yield lambda *args, **named: started.append(pool.submit(*args, **named))
        for call in started:
            call.result(patience.limit(30))
