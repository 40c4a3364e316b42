import contextlib
from collections.abc import Iterator

import psutil
import redis

from standalone.servers.valkey import Valkey


@contextlib.contextmanager
def connected(valkey: Valkey, database: int = 0) -> Iterator["redis.Redis"]:
    with contextlib.closing(redis.Redis.from_url(valkey.url(database), decode_responses=True)) as client:
        yield client


def test_data_and_port_outlive_a_stop(valkey: Valkey) -> None:
    valkey.start()
    port = valkey.port
    with connected(valkey) as client:
        client.set("kept", "42")

    valkey.stop()
    valkey.start()

    with connected(valkey) as client:
        assert client.get("kept") == "42"
    assert valkey.port == port


def test_data_that_reached_the_disk_outlives_a_kill(valkey: Valkey) -> None:
    valkey.start()
    with connected(valkey) as client:
        client.set("kept", "42")
        client.waitaof(1, 0, 5_000)

    valkey.kill()
    valkey.start()

    with connected(valkey) as client:
        assert client.get("kept") == "42"


def test_nothing_is_evicted_and_sixteen_databases_are_there(valkey: Valkey) -> None:
    valkey.start()

    with connected(valkey, database=15) as client:
        wanted = client.config_get("maxmemory-policy") | client.config_get("appendonly") | client.config_get("save")

    assert wanted == {"maxmemory-policy": "noeviction", "appendonly": "yes", "save": ""}


def test_only_the_loopback_is_served(valkey: Valkey) -> None:
    valkey.start()

    listening = [c for c in psutil.Process(valkey.pid).net_connections("all") if c.status == psutil.CONN_LISTEN]

    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
