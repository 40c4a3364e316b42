"""A short history of a farm, told three times: by the clients' journals, by the stream and by the feed."""

from dataclasses import dataclass, field, replace

from demo.events import Event
from demo.journals import Entry
from demo.ledger import Books

ALICE, BOB = "alice", "bob"
ADA, EVE = "user-ada", "user-eve"
TTL = 2
CALL_SECONDS = 0.01


@dataclass
class Story:
    """Every verb makes a change, its event and the entry of whoever asked for it. Time passes by `wait` alone."""

    entries: list[Entry] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)
    now: float = 100.0

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def create(self, user: str) -> None:
        self.created.append(user)
        self._tell("created", user)

    def acquire(self, client: str, user: str) -> None:
        version = self._version(user)
        event = self._tell(
            "acquired", user, owner=client, token=version, granted_at=self.now, expires_at=self.now + TTL
        )
        self._write(event, call="acquire")

    def renew(self, user: str) -> None:
        self._write(self._tell_of_lease("renewed", user, expires_at=self.now + TTL), call="renew")

    def release(self, user: str) -> None:
        self._write(self._tell_of_lease("released", user), call="release")

    def expire(self, user: str) -> None:
        self._tell_of_lease("expired", user)

    def books(self) -> Books:
        return Books(self.entries, self.events, list(self.events), self.created, self.killed, "1-0")

    def _version(self, user: str) -> int:
        return 1 + sum(event.user == user for event in self.events)

    def _tell_of_lease(self, kind: str, user: str, **changed: float) -> Event:
        last = next(event for event in reversed(self.events) if event.user == user)
        fields = {"expires_at": last.expires_at, **changed}
        return self._tell(kind, user, owner=last.owner, token=last.token, granted_at=last.granted_at, **fields)

    def _tell(self, kind: str, user: str, **told: object) -> Event:
        place = len(self.events) + 1
        event = Event(f"1-{place}", f"event-{place}", kind, user, self._version(user), self.now, **told)  # type: ignore[arg-type]
        self.events.append(event)
        return event

    def _write(self, event: Event, *, call: str) -> None:
        self.entries.append(
            Entry(
                client=event.owner,
                call=call,  # type: ignore[arg-type]
                outcome=event.kind,  # type: ignore[arg-type]
                user=event.user,
                lease=f"{event.user}-{event.token}",
                sent=self.now - CALL_SECONDS,
                answered=self.now + CALL_SECONDS,
                token=event.token,
                version=event.version,
                ttl_seconds=0 if call == "release" else TTL,
            )
        )


def true_story() -> Story:
    """Two users, two clients; Bob is killed with Eve in his hands, and Alice takes her once the lock has lapsed."""
    story = Story(killed={BOB})
    story.create(ADA)
    story.create(EVE)
    story.acquire(ALICE, ADA)
    story.acquire(BOB, EVE)
    story.wait(1)
    story.renew(ADA)
    story.wait(0.5)
    story.release(ADA)
    story.acquire(BOB, ADA)
    story.wait(0.5)
    story.release(ADA)
    story.wait(0.5)
    story.expire(EVE)
    story.acquire(ALICE, EVE)
    story.wait(0.5)
    story.release(EVE)
    return story


def without(books: Books, event: Event, *, feed_too: bool = True) -> Books:
    """The same books with an event that was never told."""
    stream = [other for other in books.stream if other is not event]
    feed = [other for other in books.feed if other is not event] if feed_too else books.feed
    return replace(books, stream=stream, feed=feed)
