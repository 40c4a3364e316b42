"""A consumer of the stream as its own program: `python -m benchmarks.load.stream_consumer REDIS_URL KEY GROUP`."""

import sys
from typing import Any

import redis

BATCH = 500
BLOCK_MILLISECONDS = 1_000


def main() -> None:
    url, key, group = sys.argv[1:]
    client = redis.Redis.from_url(url, socket_timeout=None)
    while True:
        found: Any = client.xreadgroup(group, "bench", {key: ">"}, count=BATCH, block=BLOCK_MILLISECONDS)
        for _, entries in found:
            client.xack(key, group, *(entry_id for entry_id, _ in entries))


if __name__ == "__main__":
    main()
