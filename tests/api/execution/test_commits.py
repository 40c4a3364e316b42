"""No answer leaves before its transaction has committed."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import Connection, Engine, text

from domain.postgres import engines
from tests import patience
from tests.api.farms import USERS, Farm
from tests.api.servers import ApiProcess, serving
from tests.patience import eventually

COMMIT_SECONDS = 0.25
AT_COMMIT = """
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {body}; RETURN NULL; END';
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION at_commit();
"""
SLOW = AT_COMMIT.format(body=f"PERFORM pg_sleep({COMMIT_SECONDS})")
FAILING = AT_COMMIT.format(body="RAISE EXCEPTION $$the disk is full$$ USING ERRCODE = $$53100$$")
NOTED = "SELECT count(*) FROM outbox"
LEASES = """
SELECT lease_id, type, count(*) AS written FROM (
    SELECT lease_id, type FROM outbox UNION ALL SELECT lease_id, type FROM events
) e WHERE lease_id IS NOT NULL GROUP BY lease_id, type
"""

Call = Callable[[Farm, str], httpx.Response]
CALLS: dict[str, Call] = {
    "create": lambda farm, _: farm.client.post(f"{USERS}/", json={"login": "committed"}),
    "batch": lambda farm, _: farm.client.post(f"{USERS}/batch", json=[{"login": "committed"}]),
    "acquire": lambda farm, user_id: farm.acquire(user_id, lease_id=str(uuid.UUID(int=2))),
    "renew": lambda farm, user_id: farm.renew(user_id, lease_id=str(uuid.UUID(int=1))),
    "release": lambda farm, user_id: farm.release(user_id, lease_id=str(uuid.UUID(int=1))),
}


def noted(engine: Engine) -> int:
    with engine.begin() as conn:
        return int(conn.execute(text(NOTED)).scalar_one())


def prepared(farm: Farm, call: str) -> str:
    """The id of a user that this call can change."""
    user_id = str(farm.new_user()["id"])
    if call in {"renew", "release"}:
        farm.acquire(user_id, lease_id=str(uuid.UUID(int=1)))
    return user_id


@pytest.mark.parametrize("call", CALLS)
def test_when_the_answer_arrives_everybody_sees_the_change(served: Farm, call: str) -> None:
    user_id = prepared(served, call)
    served.execute(SLOW)
    before = noted(served.engine)
    started = time.monotonic()

    answer = CALLS[call](served, user_id)

    assert noted(served.engine) == before + 1
    assert answer.is_success
    assert time.monotonic() - started >= COMMIT_SECONDS


def test_an_app_that_commits_after_its_answer_would_be_found(served: Farm) -> None:
    """FastAPI's plain `yield` dependency is that trap."""
    app = FastAPI()

    def transaction() -> Iterator[Connection]:
        with served.engine.begin() as conn:
            yield conn

    @app.post("/")
    def note(conn: Annotated[Connection, Depends(transaction)]) -> None:
        conn.execute(text("INSERT INTO outbox (type, data, occurred_at) VALUES ('x', '{}', now())"))

    served.execute(SLOW)
    before = noted(served.engine)

    with serving(app) as url:
        answer = httpx.post(url)
        seen = noted(served.engine)

    assert answer.is_success
    assert seen == before
    served.spoilt = True


@pytest.mark.parametrize("call", CALLS)
def test_a_commit_that_fails_is_no_success(served: Farm, call: str) -> None:
    user_id = prepared(served, call)
    served.execute(FAILING)
    before = noted(served.engine)

    answer = CALLS[call](served, user_id)

    assert answer.status_code >= 500
    assert "disk" not in answer.text
    assert noted(served.engine) == before


@dataclass
class Client:
    """Acquires and releases its own users until the server is gone; `acknowledged` is what it was told."""

    url: str
    user_ids: list[str]
    acknowledged: list[tuple[str, str]] = field(default_factory=list)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=patience.limit(10)) as client:
            try:
                for turn in range(10_000):
                    self.cycle(client, self.user_ids[turn % len(self.user_ids)])
            except httpx.TransportError:
                return

    def cycle(self, client: httpx.Client, user_id: str) -> None:
        lease_id = str(uuid.uuid4())
        for verb, kind in (("acquire_lock", "acquired"), ("release_lock", "released")):
            answer = client.post(f"{USERS}/{user_id}/{verb}", json={"lease_id": lease_id})
            if answer.is_success:
                self.acknowledged.append((lease_id, f"botfarm.lock.{kind}.v1"))


def hunted(process: ApiProcess, *, round_number: int) -> list[tuple[str, str]]:
    """What was acknowledged to eight clients before the process was killed in the midst of them."""
    rows = [{"login": f"hunted-{round_number}-{number}"} for number in range(16)]
    results: list[dict[str, Any]] = httpx.post(f"{process.url}{USERS}/batch", json=rows).json()["results"]
    ids = [result["user"]["id"] for result in results]
    clients = [Client(process.url, ids[number::8]) for number in range(8)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    assert eventually(lambda: sum(len(client.acknowledged) for client in clients) > 50, seconds=30)
    time.sleep(random.random() / 5)
    process.kill()
    for thread in threads:
        thread.join()
    return [each for client in clients for each in client.acknowledged]


def test_what_was_acknowledged_outlives_a_kill_with_exactly_one_event(process: ApiProcess) -> None:
    engine = engines.engine(process.settings.database_url, patience_seconds=30)
    acknowledged = []

    for round_number in range(3):
        process.start()
        acknowledged += hunted(process, round_number=round_number)

    with engine.begin() as conn:
        written = {(str(row.lease_id), row.type): row.written for row in conn.execute(text(LEASES))}
    engine.dispose()
    assert len(acknowledged) > 3 * 50
    assert [change for change in acknowledged if written.get(change) != 1] == []
    assert set(written.values()) == {1}
    assert len(written) - len(acknowledged) <= 3 * 8  # at most the one change each client was waiting for
