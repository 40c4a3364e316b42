"""Leases as the clients' journals tell them."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from demo.journals import Entry


@dataclass(slots=True)
class Lease:
    """One grant, from `since` to `until` surely in the client's hands by the client's own clock.

    The grant came before its answer and a lease lasts its TTL from then, so whoever counts the TTL from the moment it
    sent the call is on the safe side; it stops being the holder when it sends the release. `open` until it was told
    that it has released; `lapsed` when it was told that it came too late.
    """

    user: str
    lease: str
    client: str
    token: int
    since: float
    until: float
    open: bool = True
    lapsed: bool = False

    def take(self, entry: Entry) -> None:
        """Go on with the next entry about this lease."""
        if entry.outcome == "renewed":
            self.until = entry.sent + entry.ttl_seconds  # set, never added to
        elif entry.call == "release" or entry.outcome == "lapsed":
            self.until = min(self.until, entry.sent)
            self.open = self.open and entry.outcome != "released"
            self.lapsed = entry.outcome == "lapsed"

    def __str__(self) -> str:
        return f"{self.client}'s lease of user {self.user}, token {self.token}"


def of_entries(entries: Iterable[Entry]) -> list[Lease]:
    """The leases that were granted, in no order; each client's entries are in its order."""
    leases: dict[tuple[str, str], Lease] = {}
    for entry in entries:
        key = entry.user, entry.lease
        if entry.outcome == "acquired":
            until = entry.sent + entry.ttl_seconds
            leases[key] = Lease(entry.user, entry.lease, entry.client, entry.token, entry.answered, until)
        elif key in leases:
            leases[key].take(entry)
    return list(leases.values())


def overlaps(leases: Iterable[Lease]) -> list[tuple[Lease, Lease]]:
    """Pairs of leases of one user that were in two hands at one moment."""
    found = []
    for _, group in groupby(sorted(leases, key=lambda lease: (lease.user, lease.since)), lambda lease: lease.user):
        latest: Lease | None = None
        for lease in group:
            if latest is not None and lease.since < latest.until:
                found.append((latest, lease))
            if latest is None or lease.until > latest.until:
                latest = lease
    return found
