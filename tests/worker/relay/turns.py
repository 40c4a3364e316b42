"""Doing with a relay by hand what its loops do."""

from worker.relay.relay import Relay

MOST_TURNS = 200


def settle(relay: Relay, *, idle_turns: int = 6) -> None:
    """Take turns until there is nothing left to do: some in a row, for putting a stream right takes a few."""
    idle = 0
    for _ in range(MOST_TURNS):
        idle = 0 if relay.sequence() + relay.publish() else idle + 1
        if idle == idle_turns:
            return
    raise AssertionError("the relay never comes to rest")
