"""A revoked key is refused within five seconds, in every process, with or without Redis."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.auth.key_lookup import CACHED_MOST, KeyLookup, _Cached
from domain.configuration.settings import Settings
from standalone.servers.postgres import Postgres
from tests import patience
from tests.api.auth.keyrings import bearing, id_of, new_key, revoke, unknown_key
from tests.api.farms import EVENTS, USERS, Farm, farming
from tests.api.servers import ApiProcess
from tests.patience import eventually

WHOAMI = "/api/v1/whoami"
EFFECTIVE_SECONDS = 5.0
NO_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture
def guarded(settings: Settings) -> Iterator[Farm]:
    with farming(settings.model_copy(update={"auth": "keys"})) as farm:
        yield farm


@pytest.fixture
def replicas(settings: Settings, tmp_path: Path) -> Iterator[list[ApiProcess]]:
    """Two `python -m api` that want keys, on one database, both without Redis."""
    without = settings.model_copy(update={"redis_url": NO_REDIS})
    processes = [ApiProcess(without, tmp_path / f"api-{n}.log") for n in range(2)]
    for process in processes:
        process.launch(BOTFARM_AUTH="keys")
    assert eventually(lambda: all(process.ready() for process in processes), seconds=30)
    yield processes
    for process in processes:
        process.kill()


def test_a_key_revoked_at_one_process_stops_at_the_other_within_five_seconds_without_redis(
    settings: Settings, replicas: list[ApiProcess]
) -> None:
    with farming(settings) as farm:
        root, doomed, spared = (new_key(farm, name, "admin") for name in ("root", "doomed", "spared"))
        path = f"/api/v1/keys/{id_of(farm, 'doomed')}"
    first, second = (process.url for process in replicas)

    def status(key: str, url: str) -> int:
        return httpx.get(f"{url}{WHOAMI}", headers={"Authorization": f"Bearer {key}"}).status_code

    assert [status(doomed, url) for url in (first, second)] == [200, 200]
    revoked = httpx.delete(f"{first}{path}", headers={"Authorization": f"Bearer {root}"})

    assert revoked.status_code == 204
    gone = [(doomed, url) for url in (second, first)]
    assert eventually(lambda: all(status(*each) == 401 for each in gone), seconds=EFFECTIVE_SECONDS)
    assert [status(spared, url) for url in (first, second)] == [200, 200]


def test_no_process_writes_a_key_to_its_log(replicas: list[ApiProcess]) -> None:
    key = unknown_key()
    for process in replicas:
        httpx.get(f"{process.url}{WHOAMI}?key={key}", headers={"Authorization": f"Bearer {key}"})

    assert [key[3:] in process.said() for process in replicas] == [False, False]


def test_an_open_stream_ends_with_its_key(guarded: Farm) -> None:
    key = new_key(guarded, "listener", "events")
    with bearing(guarded, key, timeout=20) as client, client.stream("GET", f"{EVENTS}/stream") as stream:
        assert stream.status_code == 200
        revoke(guarded, "listener")
        started = time.monotonic()
        for _ in stream.iter_bytes():
            continue

    assert time.monotonic() - started < EFFECTIVE_SECONDS


def test_a_stream_whose_key_is_in_force_continues(guarded: Farm) -> None:
    key = new_key(guarded, "listener", "events")
    timeout = httpx.Timeout(10, read=EFFECTIVE_SECONDS)
    with (
        bearing(guarded, key, timeout=timeout) as client,
        client.stream("GET", f"{EVENTS}/stream") as stream,
    ):
        parts = stream.iter_bytes()
        until = time.monotonic() + EFFECTIVE_SECONDS
        with contextlib.suppress(httpx.ReadTimeout):  # no event; an end of the stream would fail
            while time.monotonic() < until:
                assert next(parts)


def test_a_long_poll_whose_key_is_revoked_meanwhile_returns_no_event(guarded: Farm) -> None:
    root, key = new_key(guarded, "root", "admin"), new_key(guarded, "listener", "events")
    with bearing(guarded, root) as admin, bearing(guarded, key) as client:
        polling = guarded.callers.submit(client.get, EVENTS, params={"after": "latest", "wait_seconds": 20})
        time.sleep(0.5)
        revoke(guarded, "listener")
        time.sleep(EFFECTIVE_SECONDS)
        admin.post(f"{USERS}/", json={"login": uuid.uuid4().hex})
        guarded.publish()

        answer = polling.result(patience.limit(20))

    assert answer.status_code == 401


def test_while_postgres_is_unavailable_a_known_key_gets_503_and_not_401(
    own_postgres: Postgres, settings: Settings
) -> None:
    guarding = settings.model_copy(update={"auth": "keys", "database_url": own_postgres.url()})
    with farming(guarding) as farm:
        farm.spoilt = True
        key = new_key(farm, f"known-{uuid.uuid4().hex}", "read")
        with bearing(farm, key) as client:
            assert client.get(WHOAMI).status_code == 200
            own_postgres.kill()
            killed_at = time.monotonic()
            assert client.get(WHOAMI).status_code == 200  # cached
            assert eventually(lambda: client.get(WHOAMI).status_code == 503, seconds=EFFECTIVE_SECONDS + 4)
            assert time.monotonic() - killed_at > 1
            own_postgres.start()
            assert eventually(lambda: client.get(WHOAMI).status_code == 200, seconds=10)


def test_the_caches_are_bounded_and_unknown_keys_evict_no_good_one(guarded: Farm) -> None:
    key = new_key(guarded, "good", "read")
    identities: KeyLookup = guarded.app.state.services.identities
    with bearing(guarded, key) as client:
        client.get(WHOAMI)
        for n in range(CACHED_MOST + 5):
            identities._store(n.to_bytes(32), _Cached(None, time.monotonic() + 60))

    assert len(identities._bad) == CACHED_MOST
    assert len(identities._good) == 1


def test_calls_with_one_key_send_one_query_while_it_is_cached(guarded: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    identities: KeyLookup = guarded.app.state.services.identities
    asked: list[bytes] = []
    ask = identities._ask

    async def counted(digest: bytes) -> object:
        asked.append(digest)
        return await ask(digest)

    monkeypatch.setattr(identities, "_ask", counted)
    for key in (new_key(guarded, "good", "read"), unknown_key()):
        with bearing(guarded, key) as client:
            started = time.monotonic()
            calls = [guarded.callers.submit(client.get, WHOAMI) for _ in range(40)]
            assert len({call.result().status_code for call in calls}) == 1
            assert time.monotonic() - started < patience.limit(2)

    assert len(asked) == 2
