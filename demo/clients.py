"""One client, a process of its own: it takes random users, holds several at once, and gives them back.

It starts at the line `go` on its input. A client with a time to die kills itself then with SIGKILL, in the midst
of several leases: nothing gets a chance to clean up.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import processes
from demo.answers import Api, Call
from demo.journals import Entry, Journal, Verb

ORPHANED = 3  # exit code
GO = "go\n"
HOT_USERS = 32  # the first of the list, wanted by all at once
HOT_SHARE = 0.5
MOST_HELD = 3
HELD_AT_DEATH = 2
HOLD_SECONDS = (0.010, 0.200)
TTLS_SECONDS = (2, 3)
CHOSEN_SHARE = 0.5  # acquires with a lease_id of the client's own
REPEATED_SHARE = 0.25
RENEWED_SHARE = 0.25
LATE_SHARE = 0.005
PAUSE_SECONDS = 0.1  # after an error, so that a server that is away is not stormed


@dataclass(slots=True)
class Held:
    """A lease in hand, when to go on with it, and between which moments it lapses.

    The grant came between the call and its answer, and the TTL counts from the grant.
    """

    user: str
    lease: str
    token: int
    chosen: bool
    due: float = 0.0
    valid_until: float = 0.0
    lapsed_from: float = 0.0

    def call(self, verb: Verb, *, ttl_seconds: int = 0, repeated: bool = False) -> Call:
        lapsed = time.monotonic() >= self.lapsed_from
        return Call(verb, self.user, self.lease, ttl_seconds, self.token, self.valid_until, lapsed, repeated)


class Client:
    """Takes, renews and gives back in turn, one call at a time."""

    def __init__(
        self,
        *,
        ask: Callable[[Call], Entry],
        journal: Callable[[Entry], None],
        users: Sequence[str],
        chance: random.Random,
    ) -> None:
        self._ask = ask
        self._journal = journal
        self._users = users
        self._chance = chance
        self._held: list[Held] = []

    def work(self, *, seconds: float) -> None:
        """Be busy for so long, with everything given back at the end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._step()
        while self._held:
            self._release(self._held[0])

    def die(self, *, after_seconds: float) -> None:
        """Be busy for so long, then gone with leases in hand."""
        end = time.monotonic() + after_seconds
        while time.monotonic() < end or len(self._held) < HELD_AT_DEATH:
            if time.monotonic() < end:
                self._step()
            else:
                self._acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    def _step(self) -> None:
        self._held.sort(key=lambda held: held.due)
        if self._held and self._held[0].due <= time.monotonic():
            self._go_on(self._held[0])
        elif len(self._held) < MOST_HELD:
            self._acquire()
        else:
            time.sleep(max(0.0, self._held[0].due - time.monotonic()))

    def _go_on(self, held: Held) -> None:
        if self._chance.random() < RENEWED_SHARE:
            self._renew(held)
        else:
            self._release(held)

    def _acquire(self) -> None:
        lease = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        chosen = self._chance.random() < CHOSEN_SHARE
        call = Call("acquire", self._user(), lease if chosen else "", self._ttl())
        entry = self._make(call)
        if entry.outcome == "acquired":
            self._hold(entry, chosen=chosen)

    def _hold(self, entry: Entry, *, chosen: bool) -> None:
        held = Held(entry.user, entry.lease, entry.token, chosen)
        self._count(held, entry)
        self._held.append(held)
        if chosen and self._chance.random() < REPEATED_SHARE:
            self._settle(held, self._make(held.call("acquire", ttl_seconds=entry.ttl_seconds, repeated=True)))

    def _renew(self, held: Held) -> None:
        entry = self._make(held.call("renew", ttl_seconds=self._ttl()))
        self._settle(held, entry)
        if entry.outcome == "renewed":
            self._count(held, entry)

    def _release(self, held: Held) -> None:
        self._held.remove(held)
        entry = self._make(held.call("release"))
        if entry.outcome == "released" and held.chosen and self._chance.random() < REPEATED_SHARE:
            self._make(held.call("release", repeated=True))

    def _settle(self, held: Held, entry: Entry) -> None:
        """A lease about which something else was heard than expected is not held any more."""
        if entry.outcome in {"lapsed", "error"}:
            self._held.remove(held)

    def _make(self, call: Call) -> Entry:
        """Ask, and write down what was answered before anything follows from it."""
        entry = self._ask(call)
        self._journal(entry)
        if entry.outcome == "error":
            time.sleep(PAUSE_SECONDS)
        return entry

    def _user(self) -> str:
        """One that this client does not hold already."""
        mine = {held.user for held in self._held}
        hot = self._chance.random() < HOT_SHARE
        while (user := self._chance.choice(self._users[:HOT_USERS] if hot else self._users)) in mine:
            hot = False
        return user

    def _ttl(self) -> int:
        return self._chance.choice(TTLS_SECONDS)

    def _count(self, held: Held, entry: Entry) -> None:
        """The TTL counts again. A few leases are kept until they are surely over."""
        held.valid_until, held.lapsed_from = entry.sent + entry.ttl_seconds, entry.answered + entry.ttl_seconds
        late = self._chance.random() < LATE_SHARE
        held.due = held.lapsed_from if late else entry.answered + self._chance.uniform(*HOLD_SECONDS)


def main() -> None:
    options = _parser().parse_args()
    users: list[str] = json.loads(options.users.read_text())
    api, journal = Api(options.api_url, owner=options.name), Journal(options.journal)
    client = Client(ask=api.ask, journal=journal.write, users=users, chance=random.Random(options.seed))  # noqa: S311  -- variety, no secrets
    if sys.stdin.readline() != GO:
        return
    processes.at_end_of_input(lambda: os._exit(ORPHANED))  # not even to give back what is held: locks expire
    if options.dies_after is not None:
        client.die(after_seconds=options.dies_after)
    client.work(seconds=options.seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.clients")
    parser.add_argument("--name", required=True)
    parser.add_argument("--api-url", required=True)
    parser.add_argument("--users", type=Path, required=True, help="a JSON array of user ids")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--dies-after", type=float)
    parser.add_argument("--seed", required=True)
    return parser


if __name__ == "__main__":
    main()
