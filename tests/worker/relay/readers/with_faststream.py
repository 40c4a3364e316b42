"""The same consumer on FastStream: `with_faststream.py URL KEY GROUP NAME FILE [--no-claim]`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub

BATCH = 50
CLAIM_MILLISECONDS = 500
POLL_MILLISECONDS = 100


def main() -> None:
    url, key, group, name, file, *options = sys.argv[1:]
    broker = RedisBroker(url)
    stream: dict[str, Any] = {"group": group, "consumer": name, "max_records": BATCH}
    with Path(file).open("a", encoding="utf-8", buffering=1) as done:

        async def deal(entry: dict[str, str]) -> None:
            done.write(json.loads(entry["e"])["cursor"] + "\n")
            await asyncio.sleep(0.002)

        broker.subscriber(stream=StreamSub(key, polling_interval=POLL_MILLISECONDS, **stream))(deal)
        if not options:
            # Alone with what another has been given and never acknowledged.
            broker.subscriber(stream=StreamSub(key, min_idle_time=CLAIM_MILLISECONDS, **stream))(deal)
        asyncio.run(FastStream(broker).run())


if __name__ == "__main__":
    main()
