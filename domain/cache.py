"""The read cache of locks in Redis: a convenience for readers that no lock decision ever looks at.

An entry lives two seconds at most, counted from the moment the database was read, and never past the lock's own
expiry. Entries carry `lock_version`; a script refuses to replace a newer one by an older one, so writers need no
order among themselves. All failures of Redis are swallowed here: a cache that is away is a cache that misses.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import redis
from pydantic import TypeAdapter
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from domain import log

LIFE_SECONDS = 2.0
FRESH_MS = 1_000
TIMEOUT_SECONDS = 0.1
BREAK_SECONDS = 1.0

# An entry is `<lock_version>:<ms at which it was written>:<JSON>`: the time lets a reader count down without its clock.
# Scripts are one call for many, because a command costs this side of the connection more than Redis. A key of another
# type is counted and left: an error would leave the others unwritten. What is there already of the same version is left
# as well while it is fresh: it was written by the API, and a worker now has the same news.
LACKS = """
local now = redis.call('TIME')
local at = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
local odd = 0
local function lacks(key, version)
    local held = redis.pcall('GET', key)
    if type(held) == 'table' then
        odd = odd + 1
        return false
    end
    local known, since = (held or ''):match('^(%d+):(%d+):')
    local ahead = (tonumber(known) or 0) - tonumber(version)
    return ahead < 0 or (ahead == 0 and math.abs(at - (since or 0)) > FRESH_MS)
end
""".replace("FRESH_MS", str(FRESH_MS))

# KEYS entries; ARGV, three for each: lock_version, life in ms, JSON. How many keys are of another type.
PUT = f"""{LACKS}
for i, key in ipairs(KEYS) do
    local version, life, body = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
    if lacks(key, version) then redis.call('SET', key, version .. ':' .. at .. ':' .. body, 'PX', life) end
end
return odd
"""

# KEYS entries; ARGV the lock_version of each. How many keys are of another type, and the places of those to be put.
LACKING = f"""{LACKS}
local found = {{}}
for i, key in ipairs(KEYS) do
    if lacks(key, ARGV[i]) then found[#found + 1] = i end
end
return {{odd, found}}
"""

GET = """
local at, body = (redis.call('GET', KEYS[1]) or ''):match('^%d+:(%d+):(.*)$')
if not at then return false end
local now = redis.call('TIME')
return {body, now[1] * 1000 + math.floor(now[2] / 1000) - at}
"""

BODY = TypeAdapter(dict[str, Any])  # writes JSON in a quarter of the time that `json` takes
T = TypeVar("T")
log_ = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A cached answer about one user's lock.

    `lock` has the fields of the public lock, `ttl_seconds` among them, as they were `age_seconds` ago; None is free.
    """

    user_id: UUID
    lock_version: int
    lock: Mapping[str, Any] | None
    age_seconds: float = 0.0

    @property
    def life_seconds(self) -> float:
        """Seconds for which this entry is still valid; none when negative."""
        left = LIFE_SECONDS if self.lock is None else min(LIFE_SECONDS, float(self.lock["ttl_seconds"]))
        return left - self.age_seconds


class Cache:
    """A read cache over one Redis client; safe to use from several threads."""

    def __init__(self, url: str, *, prefix: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            # redis-py retries with back-off by default: one hanging call would hold its thread for seconds.
            retry=Retry(NoBackoff(), 0),
        )
        self._prefix = prefix
        self._put = self._client.register_script(PUT)
        self._lacking = self._client.register_script(LACKING)
        self._get = self._client.register_script(GET)
        self._broken_until = 0.0

    def get(self, user_id: UUID) -> Entry | None:
        """The entry, aged by the time since it was written; None when there is none or Redis is away."""
        found = self._guarded(lambda: self._get(keys=[self._key(user_id)]))
        if not found:
            return None
        try:
            stored = json.loads(found[0])
            entry = Entry(user_id, int(stored["lock_version"]), stored["lock"], max(0.0, int(found[1]) / 1_000))
            alive = entry.life_seconds > 0
        except (ValueError, TypeError, KeyError, OverflowError):  # JSON may say Infinity
            return None
        return entry if alive else None

    def put(self, entries: Sequence[Entry]) -> None:
        """Write what is still worth telling, in one round trip; newer entries that are there stay."""
        alive = [entry for entry in entries if entry.life_seconds > 0]
        if alive:
            self._guarded(lambda: self._write(alive))

    def lacking(self, versions: Mapping[UUID, int]) -> Sequence[UUID]:
        """The users whose locks `put` would write in these versions: who asks first composes no entry in vain.

        Nobody when Redis is away.
        """
        user_ids = list(versions)
        places = self._guarded(lambda: self._ask(user_ids, list(versions.values()))) if user_ids else None
        return [user_ids[place - 1] for place in places or ()]

    def forget(self, user_id: UUID) -> None:
        self._guarded(lambda: self._client.delete(self._key(user_id)))

    def close(self) -> None:
        self._client.close()

    def _write(self, entries: Sequence[Entry]) -> None:
        arguments: list[Any] = []
        for entry in entries:
            body = BODY.dump_json({"lock_version": entry.lock_version, "lock": _aged(entry)})
            arguments += [entry.lock_version, max(1, int(entry.life_seconds * 1_000)), body]
        _note(self._put(keys=[self._key(entry.user_id) for entry in entries], args=arguments))

    def _ask(self, user_ids: Sequence[UUID], versions: Sequence[int]) -> Sequence[int]:
        odd, places = self._lacking(keys=[self._key(user_id) for user_id in user_ids], args=versions)
        _note(odd)
        found: Sequence[int] = places
        return found

    def _guarded(self, call: Callable[[], T]) -> T | None:
        """Call Redis unless it failed a moment ago: a breaker, so that its time-out is paid once a second."""
        if time.monotonic() < self._broken_until:
            return None
        try:
            return call()
        except ResponseError as error:
            log_.warning("cache_refused", error=str(error))  # an entry of the wrong shape, or no memory: Redis is there
            return None
        except RedisError as error:
            self._broken_until = time.monotonic() + BREAK_SECONDS
            log_.warning("cache_unavailable", error=type(error).__name__)
            return None

    def _key(self, user_id: UUID) -> str:
        return f"{self._prefix}lock:{user_id}"


def _note(odd: int) -> None:
    if odd:
        log_.warning("cache_refused", keys=odd)


def _aged(entry: Entry) -> dict[str, Any] | None:
    if entry.lock is None:
        return None
    return {**entry.lock, "ttl_seconds": float(entry.lock["ttl_seconds"]) - entry.age_seconds}
