"""Who wants to hear of which events: a bounded queue each, and an index that finds them without asking everybody."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from domain.events import feed
from domain.events.feed import Event, Filter

Piece = tuple[int, bytes]  # the number of an event, and its frame
Topic = UUID | str | None
ALWAYS = 2**63  # the number of what belongs to no event and is never left out


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames in order, joined once for all who get them."""

    pieces: Sequence[Piece]
    body: bytes

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> "Chunk":
        return cls(pieces, pieces[0][1] if len(pieces) == 1 else b"".join(body for _, body in pieces))

    def beyond(self, seq: int) -> "Chunk | None":
        """What of it comes after `seq`."""
        if self.pieces[0][0] > seq:
            return self
        rest = [piece for piece in self.pieces if piece[0] > seq]
        return Chunk.of(rest) if rest else None


class Subscription:
    """One client's queue, used on the event loop only. It hears of events after the number `floor`.

    A client that lets chunks pile up to more than `most_bytes` is `overrun`: its subscription ends, and it may come
    again with the last id it got.
    """

    def __init__(self, *, most_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.overrun = False
        self.floor = 0
        self.queued_seq = 0  # the last number whose id was queued
        self.put_at = loop.time()
        self._loop = loop
        self._most_bytes = most_bytes
        self._queue: deque[Chunk] = deque()
        self._bytes = 0
        self._woken = asyncio.Event()

    def put(self, chunk: Chunk) -> None:
        fresh = chunk.beyond(self.floor)
        if fresh is None or self.ended.done():
            return
        self._bytes += len(fresh.body)
        if self._queue and self._bytes > self._most_bytes:
            self.overrun = True
            self.end()
            return
        self._queue.append(fresh)
        self.put_at = self._loop.time()
        if fresh.pieces[-1][0] < ALWAYS:
            self.queued_seq = fresh.pieces[-1][0]
        self._woken.set()

    def skip_to(self, seq: int) -> None:
        """Leave out everything up to `seq`, as the client has had that otherwise."""
        self.floor = seq
        self.queued_seq = max(self.queued_seq, seq)
        kept = [fresh for chunk in self._queue if (fresh := chunk.beyond(seq))]
        self._queue = deque(kept)
        self._bytes = sum(len(chunk.body) for chunk in kept)

    def take(self) -> bytes:
        """Everything queued; nothing when there is nothing."""
        self._woken.clear()
        body = self._queue[0].body if len(self._queue) == 1 else b"".join(chunk.body for chunk in self._queue)
        self._queue.clear()
        self._bytes = 0
        return body

    async def wait(self) -> None:
        """Until something is queued or the subscription has ended."""
        if not self.ended.done():
            await self._woken.wait()

    def end(self) -> None:
        self._queue.clear()
        self._bytes = 0
        if not self.ended.done():
            self.ended.set_result(None)
        self._woken.set()


@dataclass(eq=False, slots=True)
class Group:
    """All who ask for the same: an event is judged once for all of them."""

    by: Filter
    members: set[Subscription] = field(default_factory=set)


class Groups:
    """Finds whom an event concerns: those who want one user or one project by that, only the others one by one."""

    def __init__(self) -> None:
        self._groups: dict[Filter, Group] = {}
        self._topics: dict[Topic, list[Group]] = {}

    def add(self, subscription: Subscription, by: Filter) -> None:
        if by not in self._groups:
            self._groups[by] = Group(by)
            self._topics.setdefault(_topic(by), []).append(self._groups[by])
        self._groups[by].members.add(subscription)

    def discard(self, subscription: Subscription, by: Filter) -> None:
        group = self._groups.get(by)
        if group is None:
            return
        group.members.discard(subscription)
        if not group.members:
            del self._groups[by]
            groups = self._topics[_topic(by)]
            groups.remove(group)
            if not groups:
                del self._topics[_topic(by)]

    def concerned(self, event: Event) -> Iterator[Group]:
        topics: list[Topic] = [None, event.user_id, event.data.get("project_id")]
        for topic in dict.fromkeys(topics):
            for group in self._topics.get(topic, ()):
                if feed.matches(event, group.by):
                    yield group


def _topic(by: Filter) -> Topic:
    """Where to look for the group: at its user, else at its project, else among those that are always asked."""
    if by.user_id is not None:
        return by.user_id
    return None if by.project_id is None else str(by.project_id)
