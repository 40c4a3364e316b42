"""Exclusive, expiring locks on users: the law of this service.

# What a lock is

A user is locked while `locktime IS NOT NULL AND lock_expires_at > clock_timestamp()`. That is a predicate over one
row of Postgres and nothing else: no process has to run for a lock to end, no cache is asked whether it exists, and
no clock but the database's is read. A lock that has lapsed is free to take at once, whether or not anybody has
tidied it away.

A holder is known by its lease, `(user, lease_id)`. Renewing and releasing name the lease, so a holder that comes
late can never touch the lock of the next one. The fencing token of a lease is the user's `lock_version` at the
grant, below the epoch of the database (see `tokens`). It only ever grows, so a system that remembers the highest token
it has seen can turn an old holder away.

# How a verb is built

Each verb takes a sequence of requests and is ONE statement. Its steps, always in this order:

- `req`: the requests, unnested and numbered; any number, duplicates welcome.
- `locked`: the rows, locked in id order. The only place where the statement waits, and the reason why two batches
  cannot deadlock.
- `clock`: the time, read once, after the last wait. A statement that judged `lock_expires_at > clock_timestamp()`
  in its WHERE would judge before the wait, and has been seen to renew a lease 0.7 s after its lapse.
- `verdict`: each request on its own merits, judged on the locked copy. The statement's own snapshot is older than
  the lock, so no condition may stand on the table itself.
- `winner`: of several requests for one user, the one that is served.
- the UPDATE, and `noted`: the outbox rows, written after the row lock is held and in the same statement.

What comes back is one outcome a request, in the order of the requests: what was done, or a Refusal. A refusal is
returned, not raised, for it must not disturb its neighbours in the batch.

Sources: the lease and fencing-token scheme of M. Kleppmann, "How to do distributed locking" (2016); C. Gray and
D. Cheriton, "Leases" (SOSP 1989).
"""

from domain.locks.acquiring import Acquire, Grant, acquire
from domain.locks.expiring import expire, lapsed
from domain.locks.finding import living, owned
from domain.locks.releasing import Release, Released, release
from domain.locks.renewing import Renew, Renewal, renew

__all__ = [
    "Acquire",
    "Grant",
    "Release",
    "Released",
    "Renew",
    "Renewal",
    "acquire",
    "expire",
    "lapsed",
    "living",
    "owned",
    "release",
    "renew",
]
