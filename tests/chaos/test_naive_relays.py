"""The controls that must fail: relays that are wrong, before the ledger that finds the right one clean."""

import threading
import time

import pytest
import redis
from sqlalchemy import Engine

from domain.sealing import KeyRing
from tests.chaos import accounts, ledger
from tests.chaos.crowds import Crowd, settle_down
from tests.chaos.naive_relays import NaiveRelay, OrdersByXid, PollsById, TrustsTheRefusal

pytestmark = pytest.mark.chaos

SECONDS = 4.0
USERS = 20
WRITERS = 8


@pytest.mark.parametrize(
    ("kind", "wrong"), [(PollsById, "lost"), (OrdersByXid, "disordered"), (TrustsTheRefusal, "lost")]
)
def test_a_naive_relay_fails_the_ledger(
    kind: type[NaiveRelay], wrong: str, engine: Engine, ring: KeyRing, redis_prefix: str, client: redis.Redis
) -> None:
    key = f"{redis_prefix}naive"
    relay = kind(engine, client, key=key)
    crowd = Crowd(engine, settle_down(engine, ring, USERS))
    stopping = threading.Event()
    relaying = threading.Thread(target=relay.run, args=(stopping,))

    relaying.start()
    crowd.start(WRITERS)
    time.sleep(SECONDS / 2)
    if kind is TrustsTheRefusal:
        client.xadd(key, {"hello": "world"})
    time.sleep(SECONDS / 2)
    crowd.stop()
    time.sleep(0.2)
    stopping.set()
    relaying.join()
    relay.turn()

    entries = accounts.entries(client, key)
    findings = ledger.audit(accounts.committed(engine), entries, versions=accounts.versions(engine))
    assert len(entries) > USERS  # it did relay
    assert getattr(findings, wrong), str(findings)
    print(f"{kind.__name__}: {findings} of {len(accounts.committed(engine))}")  # noqa: T201  -- shown with -s
