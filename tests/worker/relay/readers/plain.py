"""A consumer in a group with plain redis-py, as a program: `plain.py URL KEY GROUP NAME FILE [--no-claim]`.

It writes the cursor of each event it has dealt with to FILE, a line each, and acknowledges it after that.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import redis

BATCH = 50
CLAIM_MILLISECONDS = 500


def main() -> None:
    url, key, group, name, file, *options = sys.argv[1:]
    client = redis.Redis.from_url(url, decode_responses=True)
    with Path(file).open("a", encoding="utf-8", buffering=1) as done:
        while True:
            entries = [] if options else claimed(client, key, group, name)
            for entry_id, fields in entries or given(client, key, group, name):
                done.write(json.loads(fields["e"])["cursor"] + "\n")
                time.sleep(0.002)  # it has something to do, so that death finds it in the middle of a batch
                client.xack(key, group, entry_id)


def claimed(client: redis.Redis, key: str, group: str, name: str) -> list[Any]:
    """What another has been given and never acknowledged."""
    found: Any = client.xautoclaim(key, group, name, CLAIM_MILLISECONDS, count=BATCH)
    return list(found[1])


def given(client: redis.Redis, key: str, group: str, name: str) -> list[Any]:
    found: Any = client.xreadgroup(group, name, {key: ">"}, count=BATCH, block=100)
    return [entry for _, entries in found for entry in entries]


if __name__ == "__main__":
    main()
