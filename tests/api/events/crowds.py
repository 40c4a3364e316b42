"""Events in numbers, made quickly and numbered at once."""

import contextlib
import threading
from collections.abc import Iterator

from tests.api.farms import EVENTS, Farm

MANY = """
INSERT INTO outbox (user_id, lock_version, type, data, occurred_at)
SELECT id, 1, 'botfarm.user.created.v1',
    jsonb_build_object('user_id', id, 'login', 'bot-' || id, 'project_id', CAST(:project_id AS text), 'env', 'stage',
        'domain', 'regular', 'labels', jsonb_build_object('padding', repeat('x', :padding)), 'status', 'active',
        'status_reason', NULL),
    clock_timestamp()
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, :count)) made
"""


def make(farm: Farm, count: int, *, project_id: str | None = None, padding: int = 0) -> None:
    """So many numbered events, of a simple kind."""
    farm.execute(MANY, count=count, project_id=project_id, padding=padding)
    farm.publish()


def numbers(count: int, *, first: int = 1) -> list[str]:
    return [f"1-{number}" for number in range(first, first + count)]


@contextlib.contextmanager
def writing(farm: Farm, project_id: str | None = None) -> Iterator[None]:
    """Somebody makes events all the while: a few at a time, without a pause."""
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            make(farm, 3, project_id=project_id)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def last_cursor(farm: Farm) -> str:
    return farm.client.get(EVENTS, params={"after": "latest"}).headers["X-Cursor"]
