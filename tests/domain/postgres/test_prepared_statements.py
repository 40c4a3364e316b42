"""Prepared statements give what plain ones give, heal by themselves, and are given up where they cannot work."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from domain.postgres import engines, prepared_statements

VALUES = """
SELECT CAST(:texts AS text[]) AS texts, CAST(:uuids AS uuid[]) AS uuids, CAST(:numbers AS bigint[]) AS numbers,
    CAST(:reals AS float8[]) AS reals, CAST(:flags AS boolean[]) AS flags, CAST(:documents AS jsonb[]) AS documents,
    CAST(:one AS text) AS one, CAST(:none AS uuid) AS none, 7 % 4 AS rest
"""

PLANS = """
SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE strpos(statement, 'SELECT 7 + ') > 0
"""


@pytest.fixture
def prepared(database_url: str) -> Iterator[Engine]:
    engine = engines.engine(database_url, pool_size=1, patience_seconds=30, prepare=True)
    yield engine
    engine.dispose()


def values(**changed: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {name: [] for name in ("texts", "uuids", "numbers", "reals", "flags", "documents")} | {
        "one": "",
        "none": None,
    }
    return empty | changed


def names(conn: Connection) -> set[str]:
    """The statements that this connection's server knows."""
    known = "SELECT name FROM pg_prepared_statements WHERE strpos(statement, 'pg_prepared') = 0"
    return set(conn.exec_driver_sql(known).scalars())


@pytest.mark.parametrize(
    "given",
    [
        values(),
        values(texts=["plain", "", "NULL", "null", None, "a,b", "{a}", '"quoted"', "back\\slash", "new\nline", " "]),
        values(texts=["ünï", "\U0001f600", "%s", "%(texts)s", "$1", ":one", "''", "'"]),
        values(uuids=[str(uuid.UUID(int=7)), None], numbers=[1, -(2**62), None], reals=[0.1, 1e300, None]),
        values(
            flags=[True, False, None], documents=['{"a": "\\"x\\" \\\\ {}"}', None, "[1, 2]"], one="it's", none=None
        ),
        values(none=str(uuid.UUID(int=9)), one="\\"),
        values(texts=['all "text"', "quoted"], documents=['{"a": "b"}', "{}"], reals=[1, 2.5], flags=[True, False]),
        values(texts=["back\\slash"], documents=["{}"], numbers=[3, 4], reals=[float("inf"), -0.0]),
        values(texts=[""], uuids=[None, None], numbers=[None]),
        values(texts=['"'], uuids=[str(uuid.UUID(int=7)), str(uuid.UUID(int=8))]),
    ],
)
def test_values_arrive_as_they_would_in_a_plain_statement(
    engine: Engine, prepared: Engine, given: dict[str, Any]
) -> None:
    with engine.begin() as conn:
        plain = conn.execute(text(VALUES), given).one()

    with prepared.begin() as conn:
        answers = [conn.execute(text(VALUES), given).one() for _ in range(8)]
        known = names(conn)

    assert len(known) == 1
    assert answers == [plain] * 8


def test_a_statement_is_prepared_when_it_comes_the_second_time(prepared: Engine) -> None:
    counts = []

    with prepared.begin() as conn:
        for _ in range(3):
            conn.execute(text("SELECT CAST(:n AS int)"), {"n": 1})
            counts.append(len(names(conn)))

    assert counts == [0, 1, 1]


def test_what_is_more_than_one_statement_or_none_of_data_stays_plain(prepared: Engine) -> None:
    with prepared.begin() as conn:
        for _ in range(3):
            conn.execute(text("SET LOCAL lock_timeout = '1s'; SELECT 1"))
            conn.execute(text("SAVEPOINT here"))
        known = names(conn)

    assert known == set()


def test_composed_statements_fill_no_memory(prepared: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_statements, "KNOWN_MOST", 5)

    with prepared.begin() as conn:
        for number in range(20):
            for _ in range(2):
                assert conn.execute(text(f"SELECT {number} WHERE :x = 1"), {"x": 1}).scalar_one() == number
        known = names(conn)

    assert len(known) <= 5


def test_a_transaction_that_is_rolled_back_leaves_the_statement_prepared(prepared: Engine) -> None:
    with prepared.connect() as conn:
        for _ in range(3):
            conn.execute(text("SELECT CAST(:n AS int)"), {"n": 1})
            conn.rollback()

        assert len(names(conn)) == 1


def test_a_new_connection_prepares_again(prepared: Engine, engine: Engine) -> None:
    ask = text("SELECT CAST(:n AS int)")
    with prepared.begin() as conn:
        for _ in range(3):
            conn.execute(ask, {"n": 1})
        pid = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    with engine.begin() as conn:
        conn.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    with prepared.begin() as conn:
        answers = [conn.execute(ask, {"n": n}).scalar_one() for n in range(3)]

    assert answers == [0, 1, 2]


def test_statements_are_planned_again_for_a_table_that_has_grown(
    prepared: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = text("SELECT count(*) FROM grown WHERE id = :id")
    custom = text("SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE '%grown%'")
    with prepared.begin() as conn:
        conn.exec_driver_sql("CREATE TABLE grown AS SELECT generate_series(1, 3) AS id")
        for _ in range(9):
            conn.execute(find, {"id": 1})
        monkeypatch.setattr(prepared_statements, "PLANS_LIVE_SECONDS", -1.0)
        conn.exec_driver_sql("INSERT INTO grown SELECT generate_series(4, 1000)")

        answer = conn.execute(find, {"id": 999}).scalar_one()

        assert answer == 1
        assert conn.execute(custom).scalar_one() > 0


@pytest.mark.parametrize("loss", ["DEALLOCATE ALL", "known to the server already"])
def test_behind_a_pooler_the_first_failure_is_worth_another_try_and_then_all_is_plain(
    prepared: Engine, loss: str
) -> None:
    ask = text("SELECT CAST(:n AS int)")
    with prepared.begin() as conn:
        for _ in range(3):
            conn.execute(ask, {"n": 1})
        if loss == "DEALLOCATE ALL":
            conn.exec_driver_sql("DEALLOCATE ALL")
        else:
            conn.info.clear()
            conn.execute(ask, {"n": 1})

    with pytest.raises(DBAPIError) as failure, prepared.begin() as conn:
        conn.execute(ask, {"n": 2})
    with prepared.begin() as conn:
        answers = [conn.execute(ask, {"n": n}).scalar_one() for n in range(3)]

    assert engines.unavailable(failure.value)
    assert answers == [0, 1, 2]


def test_an_error_of_the_statement_is_the_error_it_was(prepared: Engine) -> None:
    divide = text("SELECT 1 / CAST(:n AS int)")
    with prepared.connect() as conn:
        for _ in range(2):
            conn.execute(divide, {"n": 1})

        with pytest.raises(DBAPIError, match="division by zero") as failure:
            conn.execute(divide, {"n": 0})

    assert not engines.unavailable(failure.value)


def test_a_parameter_has_the_type_that_it_has_in_a_plain_statement(engine: Engine, prepared: Engine) -> None:
    ask = text(
        "SELECT timestamptz '2026-01-02 00:00Z' - :ago AS then, :flag AS flag, :n / 2 AS half, :at AS at, :id AS id"
    )
    given = {
        "ago": timedelta(days=1),
        "flag": True,
        "n": 7,
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "id": uuid.UUID(int=3),
    }
    with engine.begin() as conn:
        plain = conn.execute(ask, given).one()

    with prepared.begin() as conn:
        answers = [conn.execute(ask, given).one() for _ in range(7)]

    assert answers == [plain] * 7


def test_a_statement_that_cannot_be_prepared_fails_once_and_is_plain_from_then_on(prepared: Engine) -> None:
    ask = text("SELECT CAST(pg_typeof(:anything) AS text)")
    outcomes = []

    for _ in range(4):
        try:
            with prepared.begin() as conn:
                outcomes.append(conn.execute(ask, {"anything": "x"}).scalar_one())
        except DBAPIError as error:
            outcomes.append(type(error.orig).__name__)

    assert outcomes == ["unknown", "IndeterminateDatatype", "unknown", "unknown"]


@pytest.mark.parametrize("generic", [True, False])
def test_a_generic_engine_never_plans_for_particular_parameters(database_url: str, *, generic: bool) -> None:
    engine = engines.engine(database_url, pool_size=1, patience_seconds=30, prepare=True, generic=generic)
    with engine.begin() as conn:
        for number in range(5):
            conn.execute(text("SELECT 7 + CAST(:number AS bigint)"), {"number": number})
        body = conn.exec_driver_sql(PLANS).one()
    engine.dispose()

    assert tuple(body) == ((4, 0) if generic else (0, 4))
