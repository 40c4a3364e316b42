"""Databases to measure on: made on the server that is named, filled as wanted, and dropped at the end."""

import contextlib
import uuid
from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import Engine, make_url, text

from domain.configuration.settings import Settings
from domain.postgres import engines, schema_version

STAGE = "stage"
FILL = text("""
INSERT INTO users (id, login, env, domain, labels, created_at, updated_at, available_at, lock_version,
    locktime, lock_expires_at, lease_id, lock_owner, lock_principal, lock_metadata, lock_token)
SELECT gen_random_uuid(), :prefix || lpad(n::text, 9, '0'), :env, 'regular', '{}', now(), now(),
    CASE WHEN locked THEN now() + interval '1 day' ELSE now() - make_interval(secs => random() * 3600) END,
    CASE WHEN locked THEN 2 ELSE 1 END, CASE WHEN locked THEN now() END,
    CASE WHEN locked THEN now() + interval '1 day' END, CASE WHEN locked THEN gen_random_uuid() END,
    CASE WHEN locked THEN 'somebody' END, CASE WHEN locked THEN 'somebody' END, CASE WHEN locked THEN '{}'::jsonb END,
    CASE WHEN locked THEN 2 END
FROM (SELECT n, n % 100 < :locked_percent AS locked FROM generate_series(1, :count) n) rows
""")
PICK = text("SELECT id FROM users WHERE env = :env ORDER BY random() LIMIT :most")


@contextlib.contextmanager
def new_database(server_url: str, *, pool_size: int) -> Iterator[Engine]:
    """An engine on a migrated database of its own."""
    name = f"botfarm_bench_{uuid.uuid4().hex[:12]}"
    admin = engines.engine(Settings(database_url=server_url).database_url, patience_seconds=None, autocommit=True)
    with admin.connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(admin.url).set(database=name).render_as_string(hide_password=False)
    engine = engines.engine(url, pool_size=pool_size, patience_seconds=None)
    try:
        schema_version.upgrade(engine)
        yield engine
    finally:
        engine.dispose()
        with admin.connect() as conn:
            conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def user_ids(engine: Engine, *, most: int, env: str = STAGE) -> list[UUID]:
    """So many users of that environment, picked at random and in random order."""
    with engine.begin() as conn:
        return list(conn.execute(PICK, {"most": most, "env": env}).scalars())


def fill(engine: Engine, *, count: int, locked_percent: int, env: str = STAGE) -> None:
    """That many users in that environment, so many of a hundred locked for a day, then ANALYZE.

    Logins are `bot-` and a number; those of another environment than the usual begin with its name instead.
    """
    prefix = "bot-" if env == STAGE else f"{env}-"
    with engine.begin() as conn:
        conn.execute(FILL, {"count": count, "locked_percent": locked_percent, "env": env, "prefix": prefix})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("VACUUM ANALYZE users"))
