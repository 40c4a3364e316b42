"""Signs of life: each part of the worker has an age, counted by the database's clock."""

from sqlalchemy import text

from domain import heartbeats
from tests.domain.farms import Farm
from tests.domain.postgres.threads import together


def test_a_part_without_a_heartbeat_is_not_listed(own_farm: Farm) -> None:
    assert own_farm.do(heartbeats.ages) == {}


def test_the_age_of_a_part_is_that_of_its_last_heartbeat(own_farm: Farm) -> None:
    own_farm.do(lambda conn: heartbeats.beat(conn, part="relay"))
    own_farm.do(lambda conn: heartbeats.beat(conn, part="expiry"))
    past = text("UPDATE heartbeats SET seen_at = seen_at - interval '1 min' WHERE part = 'expiry'")
    own_farm.do(lambda conn: conn.execute(past))

    ages = own_farm.do(heartbeats.ages)

    assert ages.keys() == {"relay", "expiry"}
    assert 0 <= ages["relay"] < 30
    assert 60 <= ages["expiry"] < 90


def test_two_processes_of_one_part_share_one_heartbeat(own_farm: Farm) -> None:
    together([lambda: own_farm.do(lambda conn: heartbeats.beat(conn, part="relay"))] * 4)

    assert list(own_farm.do(heartbeats.ages)) == ["relay"]
