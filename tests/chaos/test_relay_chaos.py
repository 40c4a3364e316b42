"""The relays under fire: killed, frozen and cut off; the stream deleted, cut, soiled and starved; Redis killed."""

import random
import time
from collections.abc import Iterator

import pytest
import redis
from sqlalchemy import Engine

from api.main import create_app
from domain.configuration.settings import Settings
from domain.sealing import KeyRing
from standalone.servers.valkey import Valkey
from tests.api.events.cloudevents import faults_of_all
from tests.api.servers import serving
from tests.chaos import accounts
from tests.chaos.crowds import Crowd, settle_down
from tests.chaos.endings import PATIENCE_SECONDS, epoch, settle, verdict
from tests.chaos.misfortunes import Misfortunes, RelayProcess
from tests.chaos.witnesses import OfStream, Witness, over_http

pytestmark = pytest.mark.chaos

USERS = 20
WRITERS = 6
BLOWS = ("cut", "lose", "add_foreign", "starve", "cut_off", "delete", "kill_relay", "freeze", "crash_redis")


@pytest.fixture
def witnesses(settings: Settings, own_valkey: Valkey) -> Iterator[list[Witness]]:
    """One at each way out that there is, all at work."""
    own = settings.model_copy(update={"redis_url": own_valkey.url()})
    with serving(create_app(own)) as url:
        witnesses = [OfStream(own_valkey.url(), key=f"{settings.redis_prefix}events"), *over_http(url)]
        for witness in witnesses:
            witness.start()
        yield witnesses
        for witness in witnesses:
            witness.stop()


@pytest.mark.timeout(PATIENCE_SECONDS)
def test_no_change_is_lost_or_published_twice_whatever_befalls_relays_stream_and_redis(
    engine: Engine,
    ring: KeyRing,
    settings: Settings,
    own_valkey: Valkey,
    client: redis.Redis,
    relays: list[RelayProcess],
    witnesses: list[Witness],
    seconds: float,
) -> None:
    key = f"{settings.redis_prefix}events"
    dice = random.Random(20_261_124)
    misfortunes = Misfortunes(client, key=key, server=own_valkey, engine=engine, relays=relays, dice=dice)
    crowd = Crowd(engine, settle_down(engine, ring, USERS))
    crowd.start(WRITERS)

    _befall(misfortunes, dice, seconds=seconds)
    crowd.stop()
    settle(engine, client, key, witnesses)

    for name, entries in [("stream", accounts.entries(client, key)), *((str(w), w.seen) for w in witnesses)]:
        findings = verdict(engine, entries)
        assert findings.clean, f"{name}: {findings}"
    # Shown with -s: was there chaos?
    print(f"{crowd.changes} changes, {dict(misfortunes.struck)}, {[str(w) for w in witnesses]}")  # noqa: T201
    assert len(accounts.committed(engine)) >= crowd.changes + USERS
    assert crowd.taken <= accounts.granted(engine)
    assert crowd.undone
    assert not crowd.undone & accounts.granted(engine)
    assert not faults_of_all(engine)
    assert [blow for blow in BLOWS if not misfortunes.struck[blow]] == []
    assert epoch(engine) == 1


def _befall(misfortunes: Misfortunes, dice: random.Random, *, seconds: float) -> None:
    """Blow upon blow; the stream is deleted in the first half only, and Redis crashes from then on."""
    began = time.monotonic()
    half = began + seconds / 2
    next_kill, next_freeze, next_crash = began + 1, began + 0.5, half
    for blow in (misfortunes.delete, misfortunes.starve, misfortunes.cut_off):  # each once at least, dice or not
        misfortunes.befall(blow)
    while (now := time.monotonic()) < began + seconds:
        time.sleep(dice.uniform(0.05, 0.25))
        misfortunes.strike(sparing=now > half)
        if now > next_freeze:
            misfortunes.freeze_or_thaw()
            next_freeze = now + dice.uniform(0.3, 1.2)
        if now > next_kill:
            misfortunes.kill_relay()
            next_kill = now + 1
        if now > next_crash:
            misfortunes.crash_redis()
            next_crash = now + max(4.0, seconds / 4)
    misfortunes.thaw()
