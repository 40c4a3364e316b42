"""Lock changes: how many a second, and how long one takes, of Botfarm and of what one would pick instead.

Users are acquired and released in turn, so that every call must succeed. That it did is not believed: after each
stretch the store itself is asked how often it was changed.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence

from benchmarks.failures import Unmeasured
from benchmarks.figures import Sample, Setup
from benchmarks.load import wrk
from benchmarks.load.wrk import Drive
from benchmarks.peers.peers import PEERS, HttpPeer, Peer

PART = "changes"
CLIENTS = (1, 8, 32, 128, 512)
QUICK_CLIENTS = (32,)
USERS, QUICK_USERS = 10_000, 2_000
WARM_CLIENTS, WARM_SECONDS = 32, 3
OPEN = "half of plain's highest rate"


def require(*, without: Collection[str]) -> None:
    """Raises ProgramMissing, before anything has been started; `without` are peers to leave out."""
    wrk.require()
    for name, (_, needed) in PEERS.items():
        if name not in without:
            needed()


def measure(setup: Setup) -> Iterator[Sample]:
    users = QUICK_USERS if setup.quick else USERS
    with contextlib.ExitStack() as stack:
        peers = []
        for name, (opening, _) in PEERS.items():
            if name not in setup.without:
                setup.say(f"changes: starting {name}")
                peers.append(stack.enter_context(opening(setup, users=users)))
        for peer in [] if setup.quick else peers:
            drive(peer, clients=WARM_CLIENTS, seconds=WARM_SECONDS)
        for number in range(setup.rounds):
            # Who goes first differs, so that whatever a stretch leaves behind does not always meet the same one.
            turn = number % len(peers)
            yield from _round(setup, [*peers[turn:], *peers[:turn]], number=number)


def _round(setup: Setup, peers: Sequence[Peer], *, number: int) -> Iterator[Sample]:
    highest = 0.0
    for clients in QUICK_CLIENTS if setup.quick else CLIENTS:
        for peer in peers:
            if clients > peer.clients_most:
                continue
            setup.say(f"changes: round {number + 1} of {setup.rounds}, {_setting(clients)}, {peer.name}")
            found, left = drive(peer, clients=clients, seconds=setup.seconds)
            yield from _samples(peer, found, left, setting=_setting(clients))
            if peer.name == "plain":
                highest = max(highest, found.rate)
    for peer in peers:
        if highest and isinstance(peer, HttpPeer):
            setup.say(f"changes: round {number + 1} of {setup.rounds}, open loop at {highest / 2:,.0f}/s, {peer.name}")
            found = peer.open(rate=highest / 2, seconds=setup.seconds)
            peer.settle()
            yield Sample(PART, "latency p50, open loop", OPEN, peer.name, "ms", found.p50_ms)
            yield Sample(PART, "latency p99, open loop", OPEN, peer.name, "ms", found.p99_ms)


def drive(peer: Peer, *, clients: int, seconds: float) -> tuple[Drive, int | None]:
    """What the clients saw, and how many events were still on their way at the end, if the peer tells of any.

    Raises Unmeasured when the peer's store was not changed as often as it answered.
    """
    before = peer.changes()
    found = peer.closed(clients=clients, seconds=seconds)
    made = peer.changes() - before
    left = peer.settle()
    if not found.answers <= made <= found.answers + 2 * clients:  # calls cut off at the end may have been served
        raise Unmeasured(f"{peer.name} answered {found.answers:,} calls, but {made:,} changes were made")
    return found, left


def _samples(peer: Peer, found: Drive, left: int | None, *, setting: str) -> Iterator[Sample]:
    yield Sample(PART, "lock changes", setting, peer.name, "1/s", found.rate)
    yield Sample(PART, "latency p50", setting, peer.name, "ms", found.p50_ms)
    yield Sample(PART, "latency p99", setting, peer.name, "ms", found.p99_ms)
    if left is not None:
        yield Sample(PART, "events left to tell", setting, peer.name, "events", left)


def _setting(clients: int) -> str:
    return f"{clients} client" if clients == 1 else f"{clients} clients"
