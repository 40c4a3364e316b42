"""The database goes back in time: an older copy of it takes its place, behind the same stream."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest
import redis
from sqlalchemy import URL, Engine, text

from domain.configuration.settings import Settings
from domain.postgres import engines
from domain.sealing import KeyRing
from standalone.servers.valkey import Valkey
from tests.chaos import accounts
from tests.chaos.crowds import Crowd, settle_down
from tests.chaos.endings import PATIENCE_SECONDS, epoch, settle, verdict
from tests.chaos.ledger import Entry
from tests.chaos.misfortunes import RelayProcess, relay_environment
from tests.chaos.witnesses import OfStream
from tests.patience import eventually

pytestmark = pytest.mark.chaos

TERMINATE = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
USERS = 12
WRITERS = 4


@dataclass
class Past:
    """A farm, the copy of it that was made in the middle of its life, its stream, and two relays at work."""

    present: Engine
    user_ids: list[UUID]
    client: redis.Redis
    key: str
    restored: Engine

    def entries(self) -> list[Entry]:
        return accounts.entries(self.client, self.key)


@pytest.fixture
def past(
    admin_engine: Engine, engine: Engine, ring: KeyRing, client: redis.Redis, redis_prefix: str, seconds: float
) -> Iterator[Past]:
    name = f"botfarm_copy_{uuid.uuid4().hex[:12]}"
    user_ids = settle_down(engine, ring, USERS)
    _crowd(engine, user_ids, seconds=seconds / 4)
    assert eventually(lambda: bool(client.xlen(f"{redis_prefix}events")), seconds=20)  # a relay knows its database
    restored = _copied(admin_engine, engine, name)
    yield Past(engine, user_ids, client, f"{redis_prefix}events", restored)
    restored.dispose()
    with admin_engine.connect() as conn:
        conn.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@pytest.mark.timeout(PATIENCE_SECONDS)
def test_after_the_restore_of_an_older_copy_each_epoch_is_whole(
    relays: list[RelayProcess], past: Past, settings: Settings, own_valkey: Valkey, seconds: float
) -> None:
    _crowd(past.present, past.user_ids, seconds=seconds / 4)
    ahead = len(accounts.numbered(past.present))
    assert eventually(lambda: int(past.client.xlen(past.key)) >= ahead, seconds=30)
    for relay in relays:
        relay.kill()
    told_before = past.entries()

    environment = relay_environment(settings, own_valkey) | {"DATABASE_URL": _url(past.restored.url)}
    successor = RelayProcess(environment)
    witness = OfStream(own_valkey.url(), key=past.key)
    witness.start()
    _crowd(past.restored, past.user_ids, seconds=seconds / 4)
    settle(past.restored, past.client, past.key, [witness])
    witness.stop()
    successor.end()

    entries = past.entries()
    old = [entry for entry in entries if entry.cursor.startswith("1-")]
    new = [entry for entry in entries if entry.cursor.startswith("2-")]
    assert witness.seen == entries == old + new
    assert old == told_before
    assert [(entry.cursor, entry.body) for entry in old] == accounts.numbered(past.present)[: len(old)]
    first_seq = _seq(new[0])
    assert len(old) > first_seq  # the world knows numbers of epoch 1 that epoch 2 gives out again
    findings = verdict(past.restored, [entry for entry in old if _seq(entry) < first_seq] + new)
    assert findings.clean, str(findings)
    assert not verdict(past.restored, entries).clean  # what was told after the copy is no part of its history
    assert epoch(past.restored) == 2  # raised by the relay or by the first grant, whichever came first


def _seq(entry: Entry) -> int:
    return int(entry.cursor.partition("-")[2])


def _crowd(engine: Engine, user_ids: list[UUID], *, seconds: float) -> None:
    crowd = Crowd(engine, user_ids)
    crowd.start(WRITERS)
    time.sleep(seconds)
    crowd.stop()


def _copied(admin_engine: Engine, engine: Engine, name: str) -> Engine:
    """A copy of the database as it is in the middle of the relays' work: they are cut off, as Postgres wants it."""
    source = engine.url.database
    engine.dispose()
    with admin_engine.connect() as conn:
        conn.execute(text(f"ALTER DATABASE {source} ALLOW_CONNECTIONS false"))
        try:
            conn.execute(TERMINATE, {"name": source})
            conn.execute(text(f"CREATE DATABASE {name} TEMPLATE {source}"))
        finally:
            conn.execute(text(f"ALTER DATABASE {source} ALLOW_CONNECTIONS true"))
    return engines.engine(_url(engine.url.set(database=name)), pool_size=20, patience_seconds=30)


def _url(url: URL) -> str:
    return url.render_as_string(hide_password=False)
