"""What somebody's open snapshot keeps from being tidied is not read again by every acquire."""

import re
import uuid
from datetime import timedelta

from sqlalchemy import Connection, text

from domain import requests
from domain.locks import Release, release, reservations
from domain.requests import Ask, Granted
from tests.domain.farms import Farm

TAKEN = 50
HEADS = f"WITH RECURSIVE {reservations.ALIVE}, {reservations.SELECTORS}, {reservations.HEADS} SELECT * FROM heads"
OF_ALL = re.sub(r"AND (q\.)?home IS NOT NULL", "", HEADS)  # as if all were waited for that are not granted


def take_and_give_back(conn: Connection) -> None:
    (outcome,) = requests.take(conn, [Ask(uuid.uuid4(), "tester", "tester", timedelta(minutes=1))])
    assert isinstance(outcome, Granted)
    release(conn, [Release(grant.user.id, "tester", grant.lease_id) for grant in outcome.grants])


def dead_read(conn: Connection, query: str) -> int:
    """How many rows an index still led to, though none of them is there any more."""
    conn.execute(text("SET LOCAL enable_seqscan = off"))  # so few rows might be read whole
    plan = "\n".join(conn.execute(text(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {query}")).scalars())
    return sum(map(int, re.findall(r"Heap Fetches: (\d+)", plan)))


def test_an_acquire_reads_no_requests_that_were_granted_at_once(own_farm: Farm) -> None:
    own_farm.add()
    with own_farm.engine.connect().execution_options(isolation_level="REPEATABLE READ") as report:
        report.execute(text("SELECT count(*) FROM users"))
        for _ in range(TAKEN):
            own_farm.do(take_and_give_back)

        found = own_farm.do(lambda conn: dead_read(conn, HEADS))
        of_all = own_farm.do(lambda conn: dead_read(conn, OF_ALL))

    assert found == 0
    assert of_all >= TAKEN
