"""Snapshot: somebody keeps a snapshot of the database open, as a report or a backup does; pools and relay go on.

    python -m benchmarks.hardships.held_snapshot [--seconds 120]

On servers of its own, or on those that DATABASE_URL and REDIS_URL name. Fails when health does not name the old
transaction, and when changes are numbered or published no more.
"""

import argparse
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, text

from api.observability import health
from benchmarks.failures import Unmeasured
from benchmarks.farms.databases import fill, new_database
from benchmarks.hardships import command
from benchmarks.load.relay_process import Pools, Rates, measure, pending, warm_up, working
from domain.postgres import engines

USERS = 2_000
NAME = "nightly-report"


def run(engine: Engine, redis_url: str, *, seconds: float) -> None:
    fill(engine, count=USERS, locked_percent=0)
    health.OLD_SECONDS = min(health.OLD_SECONDS, seconds / 2)
    url = engine.url.render_as_string(hide_password=False)
    reader = engines.engine(url, patience_seconds=None, name=NAME)
    with working(url, redis_url), Pools(engine) as pools:
        warm_up(engine, publishing=True)
        before = measure(engine, pools, seconds=seconds / 6)
        command.say(f"before: {before}")
        with reader.connect().execution_options(isolation_level="REPEATABLE READ") as conn:
            conn.execute(text("SELECT count(*) FROM users"))
            rates = [measure(engine, pools, seconds=seconds / 3) for _ in range(3)]
            body = health.database(engine)()["postgres"]
        require(body, [before, *rates])
        for third, rate in enumerate(rates, 1):
            command.say(f"snapshot open, third {third}: {rate}")
        last = rates[-1]
        command.say(
            f"after {seconds:.0f} s: pools {last.cycles / before.cycles:.2f}, "
            f"numbered {last.sequenced / before.sequenced:.2f} of before; "
            f"published {last.published / last.sequenced:.2f} of what was numbered, "
            f"{pending(engine)} changes wait for a number"
        )
        command.say(f"health: {body}")
        after = measure(engine, pools, seconds=seconds / 6)
        command.say(f"snapshot closed: {after}, pools {after.cycles / before.cycles:.2f} of before")
    reader.dispose()


def require(health: Mapping[str, Any], rates: Sequence[Rates]) -> None:
    """Raises Unmeasured when health does not say whose the old transaction is, or when something stands still."""
    if NAME not in str(health.get("oldest_transaction")):
        raise Unmeasured(f"health does not name the old transaction: {health}")
    for rate in rates:
        if not min(rate.cycles, rate.sequenced, rate.published):
            raise Unmeasured(f"something stands still: {rate}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="how long the snapshot is held")
    options = parser.parse_args()

    def measured() -> None:
        with command.alone(seconds=options.seconds) as setup, new_database(setup.database_url, pool_size=4) as engine:
            run(engine, setup.redis_url, seconds=options.seconds)

    threading.excepthook = lambda failure: command.say(f"failed: {failure.exc_value!r}")
    return command.run(measured)


if __name__ == "__main__":
    sys.exit(main())
