"""What a lock change costs: processor time by who spends it, bytes of the write-ahead log, transactions.

Measured while users are acquired and released as fast as so many clients can, everything switched on. The time is what
the system has booked on each process; that of Postgres is known where its server runs on this machine.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator

import psutil
import redis
from sqlalchemy import text

from benchmarks.farms.farms import Farm, farming
from benchmarks.figures import Sample, Setup
from benchmarks.load import wrk
from benchmarks.load.settling import Ledger
from benchmarks.peers.peers import PROCESSES, HttpPeer

PART = "costs"
CLIENTS = (32, 128)
USERS, QUICK_USERS = 10_000, 2_000
SERVER = text("""
SELECT array_agg(pid) AS pids, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 AS wal,
    (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS transactions
FROM pg_stat_activity
""")


def require(*, without: Collection[str]) -> None:  # noqa: ARG001  -- this part has no peers to leave out
    """Raises ProgramMissing."""
    wrk.require()


def measure(setup: Setup) -> Iterator[Sample]:
    with farming(setup, users=QUICK_USERS if setup.quick else USERS, api_workers=PROCESSES) as farm:
        peer = HttpPeer("botfarm", url=farm.url, headers=farm.key, ledger=Ledger(farm.engine), folder=setup.folder)
        for number in range(setup.rounds):
            for clients in CLIENTS[:1] if setup.quick else CLIENTS:
                setup.say(f"costs: round {number + 1} of {setup.rounds}, {clients} clients")
                before, made = _spent(farm), peer.changes()
                peer.closed(clients=clients, seconds=setup.seconds)
                after, made = _spent(farm), peer.changes() - made
                peer.settle()
                yield from _samples(after - before, changes=made, setting=f"{clients} clients")


KINDS = {
    "api": ("processor time a change", "µs", "api"),
    "worker": ("processor time a change", "µs", "worker"),
    "postgres": ("processor time a change", "µs", "postgres"),
    "redis": ("processor time a change", "µs", "redis"),
    "wal": ("write-ahead log a change", "B", "botfarm"),
    "transactions": ("transactions a change", "", "botfarm"),
}


def _samples(spent: Counter[str], *, changes: int, setting: str) -> Iterator[Sample]:
    """Of each kind what one change took; a kind that spent nothing was not to be seen from here."""
    for kind, amount in spent.items():
        measure, unit, peer = KINDS[kind]
        yield Sample(PART, measure, setting, peer, unit, amount / changes)


def _spent(farm: Farm) -> Counter[str]:
    """Microseconds, bytes and transactions since their counting began."""
    with farm.engine.connect() as conn:
        server = conn.execute(SERVER).one()
    with contextlib.closing(redis.Redis.from_url(farm.redis_url)) as client:
        used = client.info("cpu")
    api, worker = (_family(psutil.Process(program.pid)) for program in farm.programs)
    return Counter(
        api=_microseconds(api),
        worker=_microseconds(worker),
        postgres=_microseconds(server.pids),
        redis=round(1e6 * (used["used_cpu_user"] + used["used_cpu_sys"])),
        wal=round(server.wal),
        transactions=server.transactions,
    )


def _family(parent: psutil.Process) -> list[int]:
    return [process.pid for process in (parent, *parent.children(recursive=True))]


def _microseconds(pids: Collection[int]) -> int:
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, or is another machine's
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return round(1e6 * total)
