"""What befalls the relays and their stream, at random, while changes go on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text

from domain.configuration.settings import Settings
from standalone.servers.valkey import Valkey

ROOT = Path(__file__).parents[2]

# In one step, as no relay may append between the look and the deletion: a hole in the middle is another matter.
CUT = """
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])
for _, entry in ipairs(newest) do redis.call('XDEL', KEYS[1], entry[1]) end
return #newest
"""
# As a failover to a replica that lagged: entries gone, and the last id with them.
LOSE = """
local all = redis.call('XRANGE', KEYS[1], '-', '+')
redis.call('DEL', KEYS[1])
for i = 1, #all - ARGV[1] do redis.call('XADD', KEYS[1], all[i][1], unpack(all[i][2])) end
"""
CUT_OFF = text("""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'botfarm-relay' AND datname = current_database()
""")


def relay_environment(settings: Settings, server: Valkey) -> dict[str, str]:
    """What makes a worker process run on this test's database and that server."""
    return {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": server.url(),
        "BOTFARM_REDIS_PREFIX": settings.redis_prefix,
    }


class RelayProcess:
    """A whole worker process, as the supervisor starts it. It ends with this one: we hold its lifeline."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._reading, self._lifeline = os.pipe()
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "worker.supervision.child", str(self._reading)]
        self.popen = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(self._environment),
            pass_fds=(self._reading,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.started_at = time.monotonic()

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def freeze(self) -> None:
        """In the middle of whatever it does; another may have gone on when it thaws."""
        self.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.popen.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.kill()
        os.close(self._reading)
        os.close(self._lifeline)


class Misfortunes:
    """Each blow is counted in `struck` by its name."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        key: str,
        server: Valkey,
        engine: Engine,
        relays: Sequence[RelayProcess],
        dice: random.Random,
    ) -> None:
        self._client = client
        self._engine = engine
        self._relays = relays
        self._frozen: RelayProcess | None = None
        self._key = key
        self._server = server
        self._dice = dice
        self.struck: Counter[str] = Counter()

    def strike(self, *, sparing: bool) -> None:
        """`sparing` the stream as a whole: a deletion would undo what other blows have left behind."""
        blows = [self.cut, self.lose, self.add_foreign, self.starve, self.cut_off] + [self.delete] * (not sparing)
        self.befall(self._dice.choice(blows))

    def befall(self, blow: Callable[[], None]) -> None:
        with suppress(RedisError):
            blow()
            self.struck[blow.__name__] += 1

    def delete(self) -> None:
        self._client.delete(self._key)

    def cut(self) -> None:
        self._client.eval(CUT, 1, self._key, self._dice.randint(1, 20))

    def lose(self) -> None:
        self._client.eval(LOSE, 1, self._key, self._dice.randint(1, 20))

    def add_foreign(self) -> None:
        self._client.xadd(self._key, {"hello": "world"})

    def starve(self) -> None:
        """No memory, under `noeviction`: whatever would write is refused, for a moment."""
        self._client.config_set("maxmemory", 1)
        try:
            time.sleep(0.2)
        finally:
            self._client.config_set("maxmemory", 0)

    def cut_off(self) -> None:
        """End the relays' connections to Postgres, in the middle of whatever they carry."""
        with self._engine.begin() as conn:
            conn.execute(CUT_OFF)

    def kill_relay(self) -> None:
        relay = self._dice.choice(self._relays)
        relay.kill()
        relay.start()
        self.struck["kill_relay"] += 1

    def freeze_or_thaw(self) -> None:
        """One relay at a time hangs, until the next call."""
        if self._frozen is not None:
            self.thaw()
            return
        self._frozen = self._dice.choice(self._relays)
        self._frozen.freeze()
        self.struck["freeze"] += 1

    def thaw(self) -> None:
        if self._frozen is not None:
            self._frozen.thaw()
            self._frozen = None

    def crash_redis(self) -> None:
        self._server.kill()
        time.sleep(0.3)
        self._server.start()
        self.struck["crash_redis"] += 1
