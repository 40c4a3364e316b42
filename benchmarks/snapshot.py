"""Snapshot: somebody keeps a snapshot of the database open, as a report or a backup does; pools and relay go on.

python -m benchmarks.snapshot --database-url URL --redis-url URL [--seconds 120]
"""

import argparse
import threading

from sqlalchemy import Engine, text

from api import health
from benchmarks.farms import fill, new_database
from benchmarks.workers import Pools, measure, pending, warm_up, working
from domain import db

USERS = 2_000


def run(engine: Engine, redis_url: str, *, seconds: float) -> None:
    fill(engine, count=USERS, locked_percent=0)
    health.OLD_SECONDS = min(health.OLD_SECONDS, seconds / 2)
    url = engine.url.render_as_string(hide_password=False)
    reader = db.engine(url, patience_seconds=None, name="nightly-report")
    with working(url, redis_url), Pools(engine) as pools:
        warm_up(engine, publishing=True)
        before = measure(engine, pools, seconds=seconds / 6)
        print(f"before: {before}", flush=True)  # noqa: T201
        with reader.connect().execution_options(isolation_level="REPEATABLE READ") as conn:
            conn.execute(text("SELECT count(*) FROM users"))
            rates = [measure(engine, pools, seconds=seconds / 3) for _ in range(3)]
            told = health.database(engine)()["postgres"]
        for third, rate in enumerate(rates, 1):
            print(f"snapshot open, third {third}: {rate}", flush=True)  # noqa: T201
        last = rates[-1]
        print(  # noqa: T201
            f"after {seconds:.0f} s: pools {last.cycles / before.cycles:.2f}, "
            f"numbered {last.sequenced / before.sequenced:.2f} of before; "
            f"published {last.published / last.sequenced:.2f} of what was numbered, "
            f"{pending(engine)} changes wait for a number"
        )
        print(f"health: {told}")  # noqa: T201
        after = measure(engine, pools, seconds=seconds / 6)
        print(f"snapshot closed: {after}, pools {after.cycles / before.cycles:.2f} of before")  # noqa: T201
    reader.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args()
    threading.excepthook = lambda failure: print(f"failed: {failure.exc_value!r}")  # noqa: T201
    with new_database(options.database_url, pool_size=4) as engine:
        run(engine, options.redis_url, seconds=options.seconds)


if __name__ == "__main__":
    main()
