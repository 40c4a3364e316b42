"""Requests for users: any that match, all or none, at once or by waiting in line.

# A request

A request asks for `count` users by project, env, domain and labels, or for one particular user. It is known by its
`(principal, request_id)`, and its lease ids follow from the request id and the user, so asking again is answered
with the same leases for as long as they live.

# The line

Requests that wait are rows of `lock_requests`: the line is in Postgres, outlives restarts and spans processes. Its
order is priority, then age. Users are handed out by *passes* (`dispatching`): one short transaction under one mutex
that walks the line from its head and gives each request what it needs or keeps for it what there is. So a waiter
blocks a later one only for users both could take, and a request for many is not starved by requests for one. Waiters
do not pull: when each tried for itself, one at a time would be served and the order would be luck.

Nobody holds a connection while waiting. A call that waits is registered at its `home`, the API process that has it;
a pass run by any process writes the grant into the request's row, and the home confirms it before it answers. What
nobody confirms is taken back. A request that nobody asks about just now keeps its place for fifteen seconds, but
neither blocks others nor is granted.

Source: the lease queue of Boskos and the measured prototype recorded in `docs/decisions/0004-the-waiting-line.md`.
"""

from domain.requests.dispatching import Pass, busy, dispatch
from domain.requests.ending import Cancelled, Undo, cancel, undo
from domain.requests.explaining import Holder, Queued, Viewer, explain, find
from domain.requests.granting import Handover
from domain.requests.homes import beat, come_back, confirm, leave, settled, step_away
from domain.requests.queueing import Claim, Detach, Enqueue, claim, detach, enqueue
from domain.requests.records import Ask, Granted, Place
from domain.requests.sweeping import sweep
from domain.requests.taking import take

__all__ = [
    "Ask",
    "Cancelled",
    "Claim",
    "Detach",
    "Enqueue",
    "Granted",
    "Handover",
    "Holder",
    "Pass",
    "Place",
    "Queued",
    "Undo",
    "Viewer",
    "beat",
    "busy",
    "cancel",
    "claim",
    "come_back",
    "confirm",
    "detach",
    "dispatch",
    "enqueue",
    "explain",
    "find",
    "leave",
    "settled",
    "step_away",
    "sweep",
    "take",
    "undo",
]
