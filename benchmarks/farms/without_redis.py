"""Downtime: farms whose Redis was stopped while they ran."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import httpx

from benchmarks.failures import Unmeasured
from benchmarks.farms.farms import Farm, farming
from benchmarks.figures import Setup
from standalone.processes.processes import passes
from standalone.servers.valkey import Valkey

NOTICE_SECONDS = 15.0  # the API looks every second


@contextlib.contextmanager
def without_redis(setup: Setup, *, users: int, api_workers: int = 2, worker: bool = True) -> Iterator[Farm]:
    """A farm that had a Redis of its own when its processes started, and has none any more.

    Raises Unmeasured unless the API finds it so, before the block and after it.
    """
    with tempfile.TemporaryDirectory(prefix="valkey-", dir=setup.folder) as folder, contextlib.ExitStack() as stack:
        server = Valkey(Path(folder))
        stack.callback(server.kill)
        server.start()
        own = replace(setup, redis_url=server.url())
        with farming(own, users=users, api_workers=api_workers, worker=worker) as farm:
            insist(farm, redis="ok")
            server.stop()
            insist(farm, redis="down")
            yield farm
            insist(farm, redis="down")


def insist(farm: Farm, *, redis: Literal["ok", "down"]) -> None:
    """Wait until the API finds its Redis so. Raises Unmeasured when it goes on finding it otherwise."""
    if not passes(lambda: _status(farm) == redis, seconds=NOTICE_SECONDS):
        raise Unmeasured(f"Redis should be {redis}, but the API finds it {_status(farm)}")


def _status(farm: Farm) -> str:
    checks = httpx.get(f"{farm.url}/health").raise_for_status().json()["checks"]
    return str(checks["redis"]["status"])
