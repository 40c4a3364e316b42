"""The users of docs/redis-acl.md: each can do its work, and only the relay can write the stream."""

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError
from sqlalchemy import make_url

from domain.configuration.settings import Settings
from tests.api.farms import farming
from tests.api.servers import environment
from tests.chaos.misfortunes import RelayProcess
from tests.patience import eventually

DOCUMENT = Path(__file__).parents[3] / "docs" / "redis-acl.md"
LINES = re.findall(r"^user (botfarm-\S+) (.*)$", DOCUMENT.read_text(), re.MULTILINE)


@dataclass
class Access:
    """The users of the document, for the keys of this test alone, on the server that the tests share."""

    url: str
    prefix: str
    names: dict[str, str]

    def url_of(self, role: str) -> str:
        url = make_url(self.url).set(username=self.names[role], password=f"{role}-password")
        return url.render_as_string(hide_password=False)

    @contextlib.contextmanager
    def client(self, role: str) -> Iterator[redis.Redis]:
        with contextlib.closing(redis.Redis.from_url(self.url_of(role), decode_responses=True)) as client:
            yield client


@pytest.fixture
def access(redis_url: str, redis_prefix: str) -> Iterator[Access]:
    names = {name.removeprefix("botfarm-"): f"{name}-{uuid.uuid4().hex[:8]}" for name, _ in LINES}
    with contextlib.closing(redis.Redis.from_url(redis_url)) as admin:
        for name, rules in LINES:
            words = rules.replace("botfarm:", redis_prefix).split()
            order(admin, "ACL", "SETUSER", names[name.removeprefix("botfarm-")], *words)
        yield Access(redis_url, redis_prefix, names)
        for name in names.values():
            order(admin, "ACL", "DELUSER", name)


def order(client: redis.Redis, *words: str) -> Any:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


@pytest.fixture
def worker(settings: Settings, access: Access) -> Iterator[RelayProcess]:
    own = settings.model_copy(update={"redis_url": access.url_of("worker")})
    process = RelayProcess({**os.environ, **environment(own)})
    yield process
    process.end()


def test_the_document_has_the_three_users() -> None:
    assert [name for name, _ in LINES] == ["botfarm-worker", "botfarm-api", "botfarm-consumer"]


@pytest.mark.usefixtures("worker")
def test_api_worker_and_consumer_do_their_work_each_under_its_user(settings: Settings, access: Access) -> None:
    key = f"{settings.redis_prefix}events"
    with farming(settings.model_copy(update={"redis_url": access.url_of("api")})) as farm:
        user_id = farm.new_user()["id"]
        farm.acquire(user_id)
        with access.client("consumer") as consumer:
            assert eventually(lambda: consumer.xlen(key) == 2)
            consumer.xgroup_create(key, "readers", id="0")
            given: Any = consumer.xreadgroup("readers", "one", {key: ">"}, count=10)
            ids = [entry_id for _, entries in given for entry_id, _ in entries]
            claimed: Any = consumer.xautoclaim(key, "readers", "two", min_idle_time=0)
            consumer.xack(key, "readers", *ids)

            assert ids == ["1-1", "1-2"]
            assert [entry_id for entry_id, _ in claimed[1]] == ids
            assert consumer.xpending(key, "readers")["pending"] == 0
        assert eventually(lambda: farm.lock(user_id).headers["X-Cache"] == "hit")
        assert eventually(lambda: farm.client.get("/health").json()["checks"]["redis"]["status"] == "ok")


WRITES: dict[str, Callable[[redis.Redis, str], object]] = {
    "xadd": lambda client, key: client.xadd(key, {"e": "{}"}),
    "xdel": lambda client, key: client.xdel(key, "1-1"),
    "xtrim": lambda client, key: client.xtrim(key, maxlen=0),
    "del": lambda client, key: client.delete(key),
    "xsetid": lambda client, key: order(client, "XSETID", key, "9-9"),
    "eval": lambda client, key: client.eval("return redis.call('XADD', KEYS[1], '*', 'e', '')", 1, key),
    "rename": lambda client, key: client.rename(key, f"{key}-away"),
}


@pytest.mark.parametrize("role", ["consumer", "api"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_nobody_but_the_worker_writes_the_stream(
    role: str, write: Callable[[redis.Redis, str], object], access: Access
) -> None:
    key = f"{access.prefix}events"

    with (
        access.client(role) as client,
        pytest.raises((NoPermissionError, redis.ResponseError), match=r"(?i)permission"),
    ):
        write(client, key)


def test_a_consumer_leaves_other_groups_and_other_keys_alone(access: Access) -> None:
    key = f"{access.prefix}events"
    with access.client("worker") as relay, access.client("consumer") as consumer:
        relay.xadd(key, {"e": "{}"}, id="1-1")
        consumer.xgroup_create(key, "theirs", id="0")

        with pytest.raises(NoPermissionError):
            consumer.xgroup_destroy(key, "theirs")
        with pytest.raises(NoPermissionError):
            consumer.xgroup_setid(key, "theirs", "0")
        with pytest.raises(NoPermissionError):
            consumer.xread({f"{access.prefix}lock:1": "0"})
        relay.delete(key)


def test_the_api_cannot_read_the_stream(access: Access) -> None:
    with access.client("api") as client, pytest.raises(NoPermissionError):
        client.xrange(f"{access.prefix}events")
