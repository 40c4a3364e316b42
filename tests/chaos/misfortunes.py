"""What befalls the relays and their stream, at random, while changes go on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import redis
from redis.exceptions import RedisError

from standalone.valkey import Valkey

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


class RelayProcess:
    """A whole worker process, as the supervisor starts it. It ends with this one: we hold its lifeline."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._reading, self._lifeline = os.pipe()
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "worker.process", str(self._reading)]
        self.popen = subprocess.Popen(
            command, cwd=ROOT, env=dict(self._environment), pass_fds=(self._reading,), stderr=subprocess.DEVNULL
        )
        self.started_at = time.monotonic()

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def end(self) -> None:
        self.kill()
        os.close(self._reading)
        os.close(self._lifeline)


class Misfortunes:
    """Each blow is counted in `struck` by its name."""

    def __init__(self, client: redis.Redis, *, key: str, server: Valkey, dice: random.Random) -> None:
        self._client = client
        self._key = key
        self._server = server
        self._dice = dice
        self.struck: Counter[str] = Counter()

    def strike(self, *, sparing: bool) -> None:
        """`sparing` the stream as a whole: a deletion would undo what other blows have left behind."""
        blow = self._dice.choice([self.cut, self.lose, self.add_foreign] + [self.delete] * (not sparing))
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

    def crash_redis(self) -> None:
        self._server.kill()
        time.sleep(0.3)
        self._server.start()
        self.struck["crash_redis"] += 1
