"""The sealing keys are rotated while the farm is at work: nobody notices, and in the end the old key can go."""

import base64
import contextlib
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from domain.configuration.settings import Settings
from standalone import ports
from tests import patience
from tests.api.servers import ApiProcess
from tests.patience import eventually
from tests.worker.workers import working

USERS = "/api/v1/users"
OLD, NEW = (f"{name}:{base64.b64encode(name[:1].encode() * 32).decode()}" for name in ("old", "new"))
CREW, USERS_EACH, PADDING = 6, 4, 3_000

Serve = Callable[[str], str]


@dataclass
class Load:
    """A crew that takes users, reads their passwords and gives them back, at whatever address is the current one.

    Each of the crew has users of its own besides those of the pool, so that nothing ever has to be refused.
    """

    url: str
    faults: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    stopping: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        project_id = str(uuid.uuid4())
        with httpx.Client(timeout=patience.limit(20)) as client:
            passwords: dict[str, str] = {}
            while not self.stopping.is_set():
                try:
                    self._turn(client, passwords, project_id)
                except Exception as error:  # noqa: BLE001  -- whatever it is, it is a fault
                    self.faults.append(repr(error))

    def _turn(self, client: httpx.Client, passwords: dict[str, str], project_id: str) -> None:
        if len(passwords) < USERS_EACH:
            password = f"pw-{uuid.uuid4().hex}"
            body = {"login": uuid.uuid4().hex, "password": password, "project_id": project_id}
            passwords[self._call(client, "post", f"{USERS}/", body)["id"]] = password
        user_id = random.choice(list(passwords))
        act = random.random()
        if act < 0.1:
            passwords[user_id] = f"pw-{uuid.uuid4().hex}"
            self._call(client, "patch", f"{USERS}/{user_id}", {"password": passwords[user_id]})
        if act < 0.6:
            granted = self._call(client, "post", f"{USERS}/{user_id}/acquire_lock", {"lease_id": str(uuid.uuid4())})
        else:
            (granted,) = self._call(client, "post", f"{USERS}/acquire_lock", {"project_id": project_id})["users"]
        if granted["password"] != passwords[granted["id"]]:
            self.faults.append(f"user {granted['id']} was given another password")
        self._call(client, "post", f"{USERS}/{granted['id']}/release_lock", {"lease_id": granted["lease_id"]})
        self.done[self.url] += 1

    def _call(self, client: httpx.Client, method: str, path: str, body: dict[str, Any]) -> Any:
        answer = client.request(method.upper(), f"{self.url}{path}", json=body)
        if answer.status_code not in (200, 201):
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


@contextlib.contextmanager
def loaded(url: str) -> Iterator[Load]:
    load = Load(url)
    with ThreadPoolExecutor(CREW) as pool:
        for _ in range(CREW):
            pool.submit(load.work)
        try:
            yield load
        finally:
            load.stopping.set()


@pytest.fixture
def serve(settings: Settings, tmp_path: Path) -> Iterator[Serve]:
    """An API process more, with this ring; the address that it serves at."""
    processes: list[ApiProcess] = []

    def start(ring: str) -> str:
        new = settings.model_copy(update={"port": ports.free(), "secret_keys_file": None})
        processes.append(ApiProcess(new, tmp_path / f"api-{len(processes)}.log"))
        processes[-1].launch(BOTFARM_SECRET_KEYS=ring)
        assert eventually(processes[-1].ready, seconds=30), processes[-1].said()
        return processes[-1].url

    yield start
    for process in processes:
        process.kill()


def sealed_by(engine: Engine) -> dict[str, int]:
    query = "SELECT split_part(password_sealed, '.', 2), count(*) FROM users GROUP BY 1"
    with engine.begin() as conn:
        return {str(key): int(count) for key, count in conn.execute(text(query))}


def turns(load: Load, *, more: int) -> None:
    wanted = load.done[load.url] + more
    assert eventually(lambda: load.done[load.url] >= wanted or bool(load.faults), seconds=30)


def pad(url: str) -> None:
    """Rows enough for the re-sealing to be under way for a while."""
    with httpx.Client(timeout=patience.limit(60)) as client:
        for _ in range(PADDING // 1_000):
            rows = [{"login": uuid.uuid4().hex, "password": "padding"} for _ in range(1_000)]
            client.post(f"{url}{USERS}/batch", json=rows).raise_for_status()


@pytest.mark.chaos
def test_keys_are_rotated_under_load_and_no_call_fails(
    serve: Serve, settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    before = serve(OLD)
    pad(before)
    with loaded(before) as load:
        turns(load, more=50)
        load.url = serve(f"{OLD},{NEW}")  # first the new key can open, everywhere
        turns(load, more=50)
        load.url = both = serve(f"{NEW},{OLD}")  # then it seals
        turns(load, more=50)
        assert sealed_by(engine)["old"] >= PADDING
        with working(settings, tmp_path, BOTFARM_SECRET_KEYS=f"{NEW},{OLD}") as worker:
            assert eventually(lambda: "old" not in sealed_by(engine), seconds=60), sealed_by(engine)
            assert eventually(lambda: worker.metric("botfarm_reseal_left") == 0, seconds=30)
            turns(load, more=50)
            load.url = after = serve(NEW)  # and the old one goes
            turns(load, more=100)

    assert load.faults == []
    assert min(load.done[url] for url in (before, both, after)) >= 50
    assert list(sealed_by(engine)) == ["new"]


@pytest.mark.chaos
def test_a_key_that_goes_too_early_is_noticed(serve: Serve) -> None:
    """The negative control: the same load, and nothing sealed anew."""
    with loaded(serve(OLD)) as load:
        turns(load, more=50)
        load.url = serve(NEW)
        assert eventually(lambda: bool(load.faults), seconds=30)

    assert any("password-unreadable" in fault for fault in load.faults)
