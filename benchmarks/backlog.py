"""Backlog: Redis is down while 100,000 events come about, then it is there, and the relay drains them.

python -m benchmarks.backlog --database-url URL [--events 100000]

The Redis is a Valkey of its own, started when the backlog is there. Most of the backlog is written straight to the
outbox, as locking alone would take minutes; numbering and draining are the relay's own.
"""

import argparse
import tempfile
import time
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.farms import fill, new_database
from benchmarks.workers import Pools, Rates, measure, state, warm_up, working
from domain.outbox import user_data
from standalone import ports
from standalone.valkey import Valkey

USERS = 2_000
LOOK_SECONDS = 0.05
FLOOD = f"""
INSERT INTO outbox (user_id, lock_version, type, data, occurred_at)
SELECT u.id, u.lock_version, 'botfarm.user.updated.v1', {user_data("u")}, clock_timestamp() FROM users u
"""  # noqa: S608  -- composed of constants


def run(engine: Engine, redis: Valkey, *, events: int) -> None:
    fill(engine, count=USERS, locked_percent=0)
    with working(engine.url.render_as_string(hide_password=False), redis.url()), Pools(engine) as pools:
        warm_up(engine, publishing=False)
        before = measure(engine, pools, seconds=5)
        print(f"Redis down: {before}", flush=True)  # noqa: T201
        began = time.monotonic()
        _flood(engine, events=events)
        while state(engine).last_seq < events:
            time.sleep(LOOK_SECONDS)
        print(f"backlog numbered in {time.monotonic() - began:.1f} s", flush=True)  # noqa: T201
        redis.start()
        backlog, drained = _drain(engine, pools)
        seconds = backlog / drained.published if drained.published else float("inf")
        print(f"drain of {backlog:,}: {drained}; {seconds:.1f} s' worth", flush=True)  # noqa: T201
        print(  # noqa: T201
            f"drained {drained.published:,.0f} events/s while {drained.sequenced:,.0f} came about; "
            f"locking {drained.cycles / before.cycles:.2f} of before"
        )


def _flood(engine: Engine, *, events: int) -> None:
    for _ in range(events // USERS):
        with engine.begin() as conn:
            conn.execute(text(FLOOD))


def _drain(engine: Engine, pools: Pools) -> tuple[int, Rates]:
    """The backlog as it was when the relay began, and the rates until nothing of it was left."""
    began_at = state(engine)
    while state(engine).published_seq == began_at.published_seq:
        time.sleep(LOOK_SECONDS)
    begin, cycles, began = state(engine), pools.cycles, time.monotonic()
    while (now := state(engine)).published_seq < begin.last_seq:
        time.sleep(LOOK_SECONDS)
    passed = time.monotonic() - began
    return begin.last_seq - begin.published_seq, Rates(
        (pools.cycles - cycles) / passed,
        (now.last_seq - begin.last_seq) / passed,
        (now.published_seq - begin.published_seq) / passed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, new_database(options.database_url, pool_size=4) as engine:
        redis = Valkey(Path(folder) / "valkey", port=ports.free())
        try:
            run(engine, redis, events=options.events)
        finally:
            redis.kill()


if __name__ == "__main__":
    main()
