"""The Redis Stream of events, and the scripts that keep a relay from ever writing it out of order.

A stream tells its end in two ways: the last entry it holds, and `last-generated-id`, the id that the next entry must
exceed. On a whole stream the two agree. They differ when entries were deleted from the tail (XDEL), or when somebody
moved the id alone (XSETID).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from domain.errors import CursorMalformed
from domain.events import feed
from domain.events.cursors import Cursor
from domain.events.feed import Event
from domain.redis import clients

TIMEOUT_SECONDS = 2.0
FIELD = b"e"
BLANK = "0-0"
START = Cursor(0, 0)  # the end of a stream that holds nothing
LOOK_BACK = 500  # foreign entries removed at a time

# Scripts say XINFO's fields by name: their number and order differ between Redis 6.2, 7, 8 and Valkey. `0-1` is as
# blank as `0-0`: an emptied stream cannot be set back further (XSETID refuses 0-0).
END = """
local function named(pairs_)
    local map = {}
    for i = 1, #pairs_, 2 do map[pairs_[i]] = pairs_[i + 1] end
    return map
end
local function ending()
    if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0', false, {} end
    local info = named(redis.call('XINFO', 'STREAM', KEYS[1]))
    local last = info['last-entry']
    local id = info['last-generated-id']
    if last then return id, last, info end
    if id == '0-1' then id = '0-0' end
    return id, false, info
end
"""

# KEYS[1] stream; ARGV: the id the stream must end with, then id and payload of each entry. Nil when appended, else
# what the stream really ends with. It is one script because between a look and an XADD another relay could write.
APPEND = f"""{END}
local id, last = ending()
if id ~= ARGV[1] or (last and last[1] or '0-0') ~= id then return {{id, last}} end
for i = 2, #ARGV, 2 do redis.call('XADD', KEYS[1], ARGV[i], 'e', ARGV[i + 1]) end
return false
"""

# KEYS[1] stream; ARGV: the last-generated-id as it was seen, the highest id that consumer groups may rightly have
# reached, then ids to remove. Nothing is done when the stream has moved on. Deleting the key is the last resort, for it
# takes the consumer groups along: newer servers refuse to set the last id below the highest id ever deleted, but that
# mark can itself be set back first (Redis 6.2 knows no such mark, and refuses that command instead). A group that has
# read a foreign id would never see ours, which are lower: it is set back to our last entry.
MEND = f"""{END}
local id, last, info = ending()
if id ~= ARGV[1] then return 'moved' end
for i = 3, #ARGV do redis.call('XDEL', KEYS[1], ARGV[i]) end
id, last, info = ending()
local tail = last and last[1] or '0-1'
if tail == id then return 'whole' end
redis.pcall('XSETID', KEYS[1], id, 'ENTRIESADDED', info['entries-added'] or 0, 'MAXDELETEDID', '0-1')
if redis.pcall('XSETID', KEYS[1], tail).err then
    redis.call('DEL', KEYS[1])
    return 'deleted'
end
local function beyond(a, b)
    local a1, a2 = a:match('(%d+)-(%d+)')
    local b1, b2 = b:match('(%d+)-(%d+)')
    a1, a2, b1, b2 = tonumber(a1), tonumber(a2), tonumber(b1), tonumber(b2)
    return a1 > b1 or (a1 == b1 and a2 > b2)
end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local g = named(group)
    local read = g['last-delivered-id']
    if beyond(read, ARGV[2]) and beyond(read, tail) then redis.call('XGROUP', 'SETID', KEYS[1], g['name'], tail) end
end
return 'set back'
"""

# KEYS[1] stream; ARGV[1] how many. A script only because redis-py would make a dict of the fields, which may repeat.
NEWEST = "return redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])"


@dataclass(frozen=True, slots=True)
class Tail:
    """The last entry, written by a relay: its place and the event it tells."""

    cursor: Cursor
    event_id: UUID

    @classmethod
    def parse(cls, entry_id: bytes, fields: Sequence[bytes]) -> Self | None:
        """None for an entry that no relay has written."""
        if len(fields) != 2 or fields[0] != FIELD:  # noqa: PLR2004  -- one name and one value
            return None
        try:
            body = json.loads(fields[1])
            cursor = Cursor.parse(body["cursor"])
            return cls(cursor, UUID(body["id"])) if str(cursor) == entry_id.decode() else None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, CursorMalformed):
            return None


@dataclass(frozen=True, slots=True)
class End:
    """How a stream ends that did not end as expected. `tail` is None when there is no entry, or a foreign one."""

    last_id: str
    entry_id: str | None
    tail: Tail | None

    @property
    def foreign(self) -> bool:
        return self.entry_id is not None and self.tail is None

    @property
    def torn(self) -> bool:
        """Whether the last entry and the last id disagree."""
        return self.last_id != (self.entry_id or BLANK)


class Stream:
    """The stream at one key of one Redis. Every call raises RedisError when Redis is away or refuses."""

    def __init__(self, url: str, *, prefix: str) -> None:
        self.key = f"{prefix}events"
        # It answers in bytes: a foreign entry that cannot be decoded would stop the relay for good.
        self.client = clients.connect(url, timeout_seconds=TIMEOUT_SECONDS)
        self._append = self.client.register_script(APPEND)
        self._mend = self.client.register_script(MEND)
        self._newest = self.client.register_script(NEWEST)

    def append(self, batch: Sequence[Event], *, after: Cursor) -> End | None:
        """Append the events if the stream ends with `after` exactly; else how it really ends.

        An empty batch is a mere look.
        """
        arguments = [str(after)]
        for event in batch:
            arguments += [str(event.cursor), payload(event)]
        found = self._append(keys=[self.key], args=arguments)
        return None if found is None else _end(found)

    def mend(self, end: End, *, read_up_to: Cursor) -> str:
        """Make last entry and last id agree again; how: `set back`, `deleted`, or `moved` when it was not needed.

        No consumer group may have read further than `read_up_to`; one that has is set back.
        """
        return self._mended(end, [], read_up_to)

    def remove_foreign(self, end: End, *, read_up_to: Cursor) -> int:
        """Remove the foreign entries at the tail, as `mend` does; how many."""
        ids: list[bytes] = []
        for entry_id, fields in self._newest(keys=[self.key], args=[LOOK_BACK]):
            if Tail.parse(entry_id, fields) is not None:
                break
            ids.append(entry_id)
        return 0 if self._mended(end, ids, read_up_to) == "moved" else len(ids)

    def trim(self, *, before: Cursor) -> int:
        """Drop entries below `before`, whole nodes only; how many. Redis drops some 10,000 a call at most."""
        total = 0
        while dropped := int(self.client.xtrim(self.key, minid=str(before), approximate=True)):
            total += dropped
        return total

    def close(self) -> None:
        self.client.close()

    def _mended(self, end: End, ids: Sequence[bytes], read_up_to: Cursor) -> str:
        answer: bytes = self._mend(keys=[self.key], args=[end.last_id, str(read_up_to), *ids])
        return answer.decode()


def payload(event: Event) -> str:
    """The event as the one field of its entry holds it."""
    return feed.as_json(event)


def _end(found: Sequence[Any]) -> End:
    last_id, entry = found
    if entry is None:
        return End(last_id.decode(), None, None)
    entry_id, fields = entry
    return End(last_id.decode(), entry_id.decode(), Tail.parse(entry_id, fields))
