"""Rows that pass SQLAlchemy by are those it would give, and its errors are those it would raise."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from domain.postgres import engines, prepared_statements, raw_rows

ASK = "SELECT n, n * %(factor)s AS many, now() AS at, '{\"a\": 1}'::jsonb AS told FROM generate_series(1, 3) AS g (n)"


@pytest.fixture
def prepared(database_url: str) -> Iterator[Engine]:
    engine = engines.engine(database_url, pool_size=2, patience_seconds=30, prepare=True, pre_ping=False)
    yield engine
    engine.dispose()


def test_rows_are_those_that_sqlalchemy_gives_by_the_same_names(engine: Engine) -> None:
    with engine.begin() as conn:
        usual = conn.exec_driver_sql(ASK, {"factor": 7}).all()
        found = raw_rows.rows(conn, ASK, {"factor": 7})

    assert [row._asdict() for row in found] == [row._asdict() for row in usual]
    assert found[2].many == 21


def test_what_is_written_belongs_to_the_transaction_around_it(engine: Engine) -> None:
    write = "INSERT INTO projects (id) VALUES (%(name)s) RETURNING id"
    with engine.begin() as conn:
        conn.exec_driver_sql("CREATE TABLE projects (id text)")
    with engine.connect() as conn:
        raw_rows.rows(conn, write, {"name": "undone"})
        conn.rollback()
        raw_rows.rows(conn, write, {"name": "committed"})
        conn.commit()
        raw_rows.rows(conn, write, {"name": "left"})
    with engine.begin() as conn:
        raw_rows.rows(conn, write, {"name": "kept"})

    with engine.begin() as conn:
        assert conn.exec_driver_sql("SELECT id FROM projects").scalars().all() == ["committed", "kept"]


def test_the_second_execution_is_prepared_and_says_the_same(prepared: Engine) -> None:
    known = "SELECT count(*) FROM pg_prepared_statements WHERE strpos(statement, 'generate_series') > 0"
    with prepared.begin() as conn:
        answers = [[row.many for row in raw_rows.rows(conn, ASK, {"factor": n})] for n in range(4)]
        assert conn.exec_driver_sql(known).scalar_one() == 1

    assert answers == [[0, 0, 0], [1, 2, 3], [2, 4, 6], [3, 6, 9]]


@pytest.mark.parametrize(
    "statement", ["SELECT 1 / %(n)s", "SELECT wrong", "SELECT %(n)s::bigint::text::uuid", "SELEC %(n)s"]
)
def test_an_error_is_of_the_kind_that_sqlalchemy_raises_and_hides_the_parameters(
    engine: Engine, statement: str
) -> None:
    body = {"n": 0, "password": "s3cret"}
    with engine.connect() as conn, pytest.raises(DBAPIError) as usual:
        conn.exec_driver_sql(statement, body)
    with engine.connect() as conn, pytest.raises(DBAPIError) as found:
        raw_rows.rows(conn, statement, body)

    assert type(found.value) is type(usual.value)
    assert type(found.value.orig) is type(usual.value.orig)
    assert not engines.unavailable(found.value)
    assert "s3cret" not in str(found.value)


def test_a_connection_that_was_lost_is_not_used_again_nor_its_fellows_of_the_pool(
    prepared: Engine, engine: Engine
) -> None:
    with prepared.connect() as one, prepared.connect() as other:
        pids = [conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() for conn in (one, other)]
    with engine.begin() as conn:
        conn.execute(text("SELECT pg_terminate_backend(pid) FROM unnest(CAST(:pids AS int[])) pid"), {"pids": pids})

    with pytest.raises(DBAPIError) as lost, prepared.begin() as conn:
        raw_rows.rows(conn, ASK, {"factor": 1})
    answers = []
    for _ in pids:
        with prepared.begin() as conn:
            answers.append(len(raw_rows.rows(conn, ASK, {"factor": 1})))

    assert engines.unavailable(lost.value)
    assert lost.value.connection_invalidated
    assert answers == [3, 3]


def test_a_server_that_forgot_the_statement_is_worth_another_try_and_then_nothing_is_prepared(
    prepared: Engine,
) -> None:
    with prepared.connect() as conn:
        for _ in range(2):
            raw_rows.rows(conn, ASK, {"factor": 1})
        conn.exec_driver_sql("DEALLOCATE ALL")
        with pytest.raises(DBAPIError) as forgotten:
            raw_rows.rows(conn, ASK, {"factor": 1})
        conn.rollback()

        assert engines.unavailable(forgotten.value)
        assert getattr(forgotten.value.orig, "pgcode", None) == prepared_statements.UNKNOWN_STATEMENT
        assert len(raw_rows.rows(conn, ASK, {"factor": 1})) == 3


def test_a_connection_whose_answer_nobody_waited_for_is_not_used_again(
    prepared: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called_off(_fileno: int, *, reading: bool, seconds: float | None) -> bool:
        raise KeyboardInterrupt

    with prepared.connect() as conn:
        raw_rows.rows(conn, ASK, {"factor": 1})
        with monkeypatch.context() as patched:
            patched.setattr(engines, "_ready", called_off)
            with pytest.raises(KeyboardInterrupt):
                raw_rows.rows(conn, "SELECT pg_sleep(%(seconds)s)", {"seconds": 0.2})
        assert conn.invalidated

    with prepared.begin() as conn:
        assert len(raw_rows.rows(conn, ASK, {"factor": 1})) == 3
