"""The ledger: what the clients were told, what the stream told, what the feed tells. The three must agree.

- **lost**: an acknowledged change whose event is missing or tells something else; an event that only one of stream and
  feed has.
- **duplicated**: an event id, or a user's lock_version, that was told twice.
- **disordered**: a cursor that does not follow its predecessor, a user's lock_version likewise.
- **held_twice**: a lease granted before the user's previous one had ended, by the events (the database's clock) or by
  the clients' own journals (the machine's clock); a lease renewed or released after its end.
- **unexpired**: a lease that a killed client left behind, or that a living one gave back too late, and that never
  expired.
- **unaccounted**: an event of our clients that tells of a change nobody was told.
- **errors**: answers that should not have been given.

Each finding is one sentence for a person.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from demo import leases
from demo.events import CHANGES, GRANT, Event
from demo.journals import Entry
from demo.leases import Lease

ENDS = frozenset({"released", "expired"})


@dataclass(frozen=True)
class Books:
    """Everything that is compared; `created` are the users we made, `killed` the clients that died.

    `first_after` is the cursor after which stream and feed were read, "" where it is not known.
    """

    entries: Sequence[Entry]
    stream: Sequence[Event]
    feed: Sequence[Event]
    created: Collection[str] = ()
    killed: Collection[str] = ()
    first_after: str = ""


@dataclass(frozen=True)
class Findings:
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    held_twice: list[str] = field(default_factory=list)
    unexpired: list[str] = field(default_factory=list)
    unaccounted: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything was found."""
        return any(getattr(self, name) for name in self.__dataclass_fields__)


def check(books: Books) -> Findings:
    granted = leases.of_entries(books.entries)
    return Findings(
        lost=[*_lost(books), *_one_sided(books)],
        duplicated=[*_duplicates(books.stream, of="stream"), *_duplicates(books.feed, of="feed")],
        disordered=[*_disorder(books.stream, books, of="stream"), *_disorder(books.feed, books, of="feed")],
        held_twice=[*_held_twice_by_events(books.stream), *_held_twice_by_journals(granted)],
        unexpired=[f"{lease} never expired" for lease in unexpired(left_behind(granted, books.killed), books.stream)],
        unaccounted=list(_unaccounted(books)),
        errors=[f"{e.client}, {e.call} of user {e.user}: {e.detail}" for e in books.entries if e.outcome == "error"],
    )


def left_behind(granted: Iterable[Lease], killed: Collection[str]) -> list[Lease]:
    """What the killed clients still held, and what others gave back too late."""
    return [lease for lease in granted if lease.open and (lease.lapsed or lease.client in killed)]


def unexpired(left: Iterable[Lease], stream: Iterable[Event]) -> list[Lease]:
    """Those of the leases of which no `expired` tells; so it also does when the user was taken over."""
    expired = {(event.user, event.token) for event in stream if event.kind == "expired"}
    return [lease for lease in left if (lease.user, lease.token) not in expired]


def _lost(books: Books) -> Iterator[str]:
    body = {(event.user, event.version): event for event in books.stream}
    for user in books.created:
        if (user, 1) not in body or body[user, 1].kind != "created":
            yield f"user {user} was created and the stream does not tell"
    for entry in books.entries:
        if entry.outcome in CHANGES:
            yield from _lost_change(entry, body.get((entry.user, entry.version)))


def _lost_change(entry: Entry, event: Event | None) -> Iterator[str]:
    change = f"{entry.client} {entry.outcome} user {entry.user}, version {entry.version}, token {entry.token}"
    if event is None:
        yield f"{change}: no event"
    elif (event.kind, event.owner, event.token) != (entry.outcome, entry.client, entry.token):
        yield f"{change}: told as {event.kind} by {event.owner}, token {event.token}"


def _one_sided(books: Books) -> Iterator[str]:
    stream, feed = ({event.id: event for event in side} for side in (books.stream, books.feed))
    yield from (f"event {feed[id_].cursor} is on the feed only" for id_ in feed.keys() - stream.keys())
    yield from (f"event {stream[id_].cursor} is on the stream only" for id_ in stream.keys() - feed.keys())
    for id_ in stream.keys() & feed.keys():
        if stream[id_].cursor != feed[id_].cursor:
            yield f"event {id_} is {stream[id_].cursor} on the stream and {feed[id_].cursor} on the feed"


def _duplicates(events: Sequence[Event], *, of: str) -> Iterator[str]:
    for id_, times in Counter(event.id for event in events).items():
        if times > 1:
            yield f"{of}: event {id_} is told {times} times"
    changes = Counter((event.user, event.version) for event in events if event.version)
    for (user, version), times in changes.items():
        if times > 1:
            yield f"{of}: version {version} of user {user} is told {times} times"


def _disorder(events: Sequence[Event], books: Books, *, of: str) -> Iterator[str]:
    if events and books.first_after and events[0].seq != int(books.first_after.split("-")[1]) + 1:
        yield f"{of}: begins with {events[0].cursor} after {books.first_after}"
    for before, event in pairwise(events):
        if event.place <= before.place or event.seq != before.seq + 1:
            yield f"{of}: {event.cursor} comes after {before.cursor}"
    last: dict[str, int] = {}
    for event in events:
        if event.version and event.version != last.get(event.user, event.version - 1) + 1:
            yield f"{of}: version {event.version} of user {event.user} comes after {last[event.user]}"
        last[event.user] = event.version


def _held_twice_by_events(events: Iterable[Event]) -> Iterator[str]:
    users: dict[str, _Holding] = {}
    for event in events:
        yield from users.setdefault(event.user, _Holding()).take(event)


@dataclass(slots=True)
class _Holding:
    """How one user stands after the events so far. Across a gap, which is found elsewhere, nothing is concluded."""

    version: int = 0
    known: bool = False
    token: int = 0
    busy_until: float = 0.0

    def take(self, event: Event) -> Iterator[str]:
        if event.version != self.version + 1:
            self.known, self.token, self.busy_until = False, 0, 0.0
        if event.kind == GRANT:
            yield from self._grant(event)
        elif event.kind in CHANGES | ENDS:
            yield from self._go_on(event)
        self.version = event.version

    def _grant(self, event: Event) -> Iterator[str]:
        if self.token:
            yield f"{event.cursor}: user {event.user} was granted to {event.owner} while token {self.token} held it"
        elif event.granted_at < self.busy_until:
            yield f"{event.cursor}: user {event.user} was granted to {event.owner} before the last lease had lapsed"
        self.known, self.token, self.busy_until = True, event.token, event.expires_at

    def _go_on(self, event: Event) -> Iterator[str]:
        if self.known and event.token != self.token:
            yield f"{event.cursor}: token {event.token} of user {event.user} was {event.kind} while it was not held"
        if event.kind == "renewed":
            self.known, self.token, self.busy_until = True, event.token, event.expires_at
        else:
            # A release frees at once; what has expired must have been left alone until its time.
            self.known, self.token = True, 0
            self.busy_until = event.expires_at if event.kind == "expired" else 0.0


def _held_twice_by_journals(granted: Iterable[Lease]) -> Iterator[str]:
    for first, second in leases.overlaps(granted):
        yield f"{second} began {first.until - second.since:.3f} s before the end of {first}"


def _unaccounted(books: Books) -> Iterator[str]:
    known = {(e.user, e.version) for e in books.entries if e.outcome in CHANGES}
    tokens = {(e.user, e.token) for e in books.entries if e.outcome == GRANT}
    ours = {e.client for e in books.entries}
    for event in books.stream:
        if event.owner not in ours:
            continue
        unknown = event.kind in CHANGES and (event.user, event.version) not in known
        if unknown or (event.kind == "expired" and (event.user, event.token) not in tokens):
            yield f"{event.cursor}: user {event.user} was {event.kind} by {event.owner}, who was never told"
