"""What every other test leaves is looked at for secrets, and that look finds one wherever it may stand."""

import time
import uuid

import pytest
import redis
from sqlalchemy import Engine, text

from domain.sealing import KeyRing
from tests.secrets import watching
from tests.worker.farms import Farm

SECRET = f"whsec_{'a' * 32}"
OUTBOX = "INSERT INTO outbox (type, data, occurred_at) VALUES ('t', jsonb_build_object('it', :it), now())"
HOOK = """
INSERT INTO webhooks (id, url, description, secret_sealed, status_since, seq, next_attempt_at, created_at, updated_at)
VALUES (gen_random_uuid(), 'https://example.org', :it, 's', now(), 0, now(), now(), now())
"""


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture
def farm(engine: Engine, ring: KeyRing) -> Farm:
    """One user that was locked and released, and one that is locked."""
    farm = Farm(engine, ring)
    farm.grow(2)
    farm.release(farm.acquire(farm.users[0]))
    farm.acquire(farm.users[1])
    return farm


def test_a_farm_that_lived_leaves_nothing(farm: Farm) -> None:
    assert watching.leaks(url_of(farm.engine)) == []


@pytest.mark.parametrize("statement", [OUTBOX, HOOK], ids=["outbox", "webhooks"])
@pytest.mark.parametrize("secret", [SECRET, f"bf_{'a' * 32}", "hunter2-planted"])
def test_what_is_shaped_like_a_secret_is_found(farm: Farm, statement: str, secret: str) -> None:
    with farm.engine.begin() as conn:
        conn.execute(text(statement), {"it": f"say {secret}"})

    (found,) = watching.leaks(url_of(farm.engine))
    _empty(farm.engine)

    assert found.endswith("something secret")


def test_a_lease_is_found_outside_its_column(farm: Farm) -> None:
    with farm.engine.begin() as conn:
        lease = conn.execute(text("SELECT lease_id FROM users WHERE lease_id IS NOT NULL")).scalar_one()
        conn.execute(text(OUTBOX), {"it": f"lease {lease}, and {uuid.uuid4()}"})

    found = watching.leaks(url_of(farm.engine))
    _empty(farm.engine)

    assert found == ["table outbox: a lease"]


def test_a_lease_that_a_caller_chose_as_its_project_is_no_leak(farm: Farm) -> None:
    with farm.engine.begin() as conn:
        lease = conn.execute(text("SELECT lease_id FROM users WHERE lease_id IS NOT NULL")).scalar_one()
        conn.execute(text("UPDATE users SET project_id = :lease"), {"lease": lease})
    farm.release(farm.acquire(farm.users[0]))

    assert watching.leaks(url_of(farm.engine)) == []


def test_nothing_is_said_of_a_database_that_is_spoilt(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("ALTER TABLE events RENAME TO elsewhere"))

    assert watching.leaks(url_of(engine)) == []
    assert watching.leaks("postgresql+psycopg2://nobody@127.0.0.1:9/none") == []


def test_a_secret_in_redis_or_a_log_is_found(redis_url: str, redis_prefix: str) -> None:
    client = redis.Redis.from_url(redis_url)
    client.xadd(f"{redis_prefix}events", {"e": SECRET})

    found = watching.leaks_of_redis(redis_url)
    client.delete(f"{redis_prefix}events")
    client.close()

    assert [finding.rpartition(": ")[2] for finding in found] == ["something shaped like a webhook secret"]
    assert list(watching.leaks_of_logs("", "password=hunter2-planted")) == ["log: a planted password"]


def test_the_look_costs_little(farm: Farm) -> None:
    """It is taken once a test: a quarter of a second, and the suite would take minutes longer."""
    farm.change(200)
    looks = []
    for _ in range(5):
        began = time.monotonic()
        watching.leaks(url_of(farm.engine))
        looks.append(time.monotonic() - began)

    assert min(looks) < 0.25  # what a busy machine adds is not the look's


def _empty(engine: Engine) -> None:
    """So that the look at the end of this very test finds nothing any more."""
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM outbox; DELETE FROM webhooks"))
