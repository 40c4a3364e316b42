"""Signs of life: each part of the worker has an age, counted by the database's clock."""

from sqlalchemy import text

from domain import heartbeats
from tests.domain.farms import Farm
from tests.domain.postgres.threads import together


def test_a_part_that_never_beat_is_not_told_of(own_farm: Farm) -> None:
    assert own_farm.do(heartbeats.ages) == {}


def test_each_part_is_as_old_as_its_last_beat(own_farm: Farm) -> None:
    own_farm.do(lambda conn: heartbeats.beat(conn, part="relay"))
    own_farm.do(lambda conn: heartbeats.beat(conn, part="expiry"))
    past = text("UPDATE heartbeats SET seen_at = seen_at - interval '1 min' WHERE part = 'expiry'")
    own_farm.do(lambda conn: conn.execute(past))

    ages = own_farm.do(heartbeats.ages)

    assert ages.keys() == {"relay", "expiry"}
    assert 0 <= ages["relay"] < 30
    assert 60 <= ages["expiry"] < 90


def test_a_part_that_runs_twice_beats_as_one(own_farm: Farm) -> None:
    together([lambda: own_farm.do(lambda conn: heartbeats.beat(conn, part="relay"))] * 4)

    assert list(own_farm.do(heartbeats.ages)) == ["relay"]
