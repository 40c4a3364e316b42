"""The read cache of locks in Redis: it serves readers, and no lock decision reads it.

An entry lives two seconds at most, counted from the moment the database was read, and never past the lock's own
expiry. Entries carry `lock_version`; a script refuses to replace a newer one by an older one, so writers need no
order among themselves. Failures of Redis are logged and never raised: an unavailable cache is a cache that misses.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from pydantic import TypeAdapter
from redis.exceptions import RedisError, ResponseError

from domain import log
from domain.redis import clients

LIFE_SECONDS = 2.0
FRESH_MS = 1_000
TIMEOUT_SECONDS = 0.1
BREAK_SECONDS = 1.0

# An entry is `<lock_version>:<ms at which it was written>:<JSON>`: the time lets a reader count down without its clock.
# One script call serves many keys, because a command costs the client more than Redis. A key of another type is counted
# and left: an error would leave the remaining keys unwritten. A fresh entry of the same version is left as well: it has
# the same content.
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

# KEYS entries; ARGV, three for each: lock_version, life in ms, JSON. Returns how many keys are of another type.
PUT = f"""{LACKS}
for i, key in ipairs(KEYS) do
    local version, life, body = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
    if lacks(key, version) then redis.call('SET', key, version .. ':' .. at .. ':' .. body, 'PX', life) end
end
return odd
"""

# KEYS entries; ARGV the lock_version of each. Returns how many keys are of another type, and the 1-based indexes of
# the entries to write.
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

BODY = TypeAdapter(dict[str, Any])  # serialises in a quarter of the time of `json`
T = TypeVar("T")
log_ = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """The lock of one user as readers get it.

    `lock` has the fields of the public lock, `ttl_seconds` among them, as they were `age_seconds` ago; None is free.
    """

    user_id: UUID
    lock_version: int
    lock: Mapping[str, Any] | None
    age_seconds: float = 0.0

    @property
    def life_seconds(self) -> float:
        """How long this entry may still be served; expired when not positive."""
        left = LIFE_SECONDS if self.lock is None else min(LIFE_SECONDS, float(self.lock["ttl_seconds"]))
        return left - self.age_seconds


class Cache:
    """A read cache over one Redis client; safe to use from several threads."""

    def __init__(self, url: str, *, prefix: str) -> None:
        self._client = clients.connect(url, timeout_seconds=TIMEOUT_SECONDS)
        self._prefix = prefix
        self._put = self._client.register_script(PUT)
        self._lacking = self._client.register_script(LACKING)
        self._get = self._client.register_script(GET)
        self._broken_until = 0.0

    def get(self, user_id: UUID) -> Entry | None:
        """The entry, aged by the time since it was written; None when there is none or Redis is unavailable."""
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
        """Write the entries that have not expired, in one round trip; newer stored entries stay."""
        alive = [entry for entry in entries if entry.life_seconds > 0]
        if alive:
            self._guarded(lambda: self._write(alive))

    def lacking(self, versions: Mapping[UUID, int]) -> Sequence[UUID]:
        """The users whose locks `put` would write in these versions, so that a caller composes no unneeded entry.

        Empty when Redis is unavailable.
        """
        user_ids = list(versions)
        indexes = self._guarded(lambda: self._find_lacking(user_ids, list(versions.values()))) if user_ids else None
        return [user_ids[index - 1] for index in indexes or ()]

    def forget(self, user_id: UUID) -> None:
        self._guarded(lambda: self._client.delete(self._key(user_id)))

    def close(self) -> None:
        self._client.close()

    def _write(self, entries: Sequence[Entry]) -> None:
        arguments: list[Any] = []
        for entry in entries:
            body = BODY.dump_json({"lock_version": entry.lock_version, "lock": _aged(entry)})
            arguments += [entry.lock_version, max(1, int(entry.life_seconds * 1_000)), body]
        _warn_of_odd(self._put(keys=[self._key(entry.user_id) for entry in entries], args=arguments))

    def _find_lacking(self, user_ids: Sequence[UUID], versions: Sequence[int]) -> Sequence[int]:
        odd, indexes = self._lacking(keys=[self._key(user_id) for user_id in user_ids], args=versions)
        _warn_of_odd(odd)
        found: Sequence[int] = indexes
        return found

    def _guarded(self, call: Callable[[], T]) -> T | None:
        """Call Redis unless it failed within the last second: a circuit breaker, which limits what time-outs cost."""
        if time.monotonic() < self._broken_until:
            return None
        try:
            return call()
        except ResponseError as error:
            log_.warning("cache_refused", error=str(error))  # a key of another type, or out of memory: Redis answers
            return None
        except RedisError as error:
            self._broken_until = time.monotonic() + BREAK_SECONDS
            log_.warning("cache_unavailable", error=type(error).__name__)
            return None

    def _key(self, user_id: UUID) -> str:
        return f"{self._prefix}lock:{user_id}"


def _warn_of_odd(odd: int) -> None:
    if odd:
        log_.warning("cache_refused", keys=odd)


def _aged(entry: Entry) -> dict[str, Any] | None:
    if entry.lock is None:
        return None
    return {**entry.lock, "ttl_seconds": float(entry.lock["ttl_seconds"]) - entry.age_seconds}
