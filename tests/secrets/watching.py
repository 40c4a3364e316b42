"""A quick look at what other tests leave: their databases, their Redis server and the logs of their processes.

It knows what they planted only by its shape (a webhook's secret, an API key), by the one password that tests plant on
purpose, and by the leases that a database itself holds.
"""

from collections.abc import Iterator

import redis
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.secrets import collecting
from tests.secrets.scanning import PASSWORD, Place, Secret, find

PLANTED = (Secret(PASSWORD, "hunter2-planted"),)
SUSPICIOUS = r"whsec_[A-Za-z0-9+/=]{20,}|\mbf_[A-Za-z0-9_-]{20,}|hunter2-planted"
# Every UUID of what is published, against every lease that the database knows: one pass over each.
LEAKS = text(r"""
WITH told AS (
    SELECT 'events' AS place, data::text AS body, type || coalesce(traceparent, '') AS rest FROM events
    UNION ALL SELECT 'outbox', data::text, type || coalesce(traceparent, '') FROM outbox
    UNION ALL SELECT 'webhook_deliveries', coalesce(answer, ''), coalesce(error, '') FROM webhook_deliveries
    UNION ALL SELECT 'webhooks', url, coalesce(description, '') FROM webhooks
), leases AS (
    SELECT lease_id FROM events UNION SELECT lease_id FROM outbox
    UNION SELECT lease_id FROM users UNION SELECT last_lease_id FROM users
    EXCEPT SELECT user_id FROM events EXCEPT SELECT user_id FROM outbox -- some tests choose the user's id as a lease
), projects AS ( -- and fuzzing may choose a lease as the project
    SELECT data ->> 'project_id' AS id FROM events UNION SELECT data ->> 'project_id' FROM outbox
), named AS (
    SELECT place, regexp_matches(body || rest, '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'g') AS found FROM told
)
SELECT DISTINCT 'table ' || place || ': a lease' FROM named
WHERE found[1]::uuid IN (SELECT lease_id FROM leases) AND NOT EXISTS (SELECT FROM projects WHERE id = found[1])
UNION SELECT DISTINCT 'table ' || place || ': something secret' FROM told WHERE body || rest ~ :suspicious
""")


def leaks(url: str) -> list[str]:
    """What a test's database holds that it must not; nothing is said of one that the test has spoilt."""
    engine: Engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as conn:
            return sorted(conn.execute(LEAKS, {"suspicious": SUSPICIOUS}).scalars())
    except DBAPIError:
        return []
    finally:
        engine.dispose()


def leaks_of_redis(url: str) -> list[str]:
    try:
        return find(PLANTED, collecting.entries(url))
    except redis.RedisError:
        return []


def leaks_of_logs(*logs: str) -> Iterator[str]:
    yield from find(PLANTED, (Place.of("log", log) for log in logs))
