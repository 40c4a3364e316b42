"""Connections never hang on a silent server, heal by themselves, and their failures are told apart."""

import os
import resource
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError, IntegrityError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from domain.postgres import engines
from standalone.servers.postgres import Postgres
from tests import patience
from tests.freezing import frozen

PATIENCE_SECONDS = 0.4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that only these tests use, so that they may stop it."""
    server = Postgres(tmp_path_factory.mktemp("own-postgres"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def impatient(server: Postgres) -> Iterator[Engine]:
    engine = engines.engine(server.url(), patience_seconds=PATIENCE_SECONDS, pool_size=2)
    yield engine
    engine.dispose()


def ask(engine: Engine) -> int:
    with engine.begin() as conn:
        return int(conn.execute(text("SELECT 42")).scalar_one())


def failure(call: Callable[[], object]) -> tuple[Exception, float]:
    """How it failed, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises(Exception) as raised:  # noqa: PT011  -- which one is the question
        call()
    return raised.value, time.monotonic() - began


def test_a_call_on_an_open_connection_to_a_silent_server_fails_within_its_patience(
    server: Postgres, impatient: Engine
) -> None:
    with impatient.connect() as conn:
        conn.execute(text("SELECT 1"))
        with frozen(server):
            error, seconds = failure(lambda: conn.execute(text("SELECT 1")))

    assert isinstance(error, OperationalError)
    assert engines.unavailable(error)
    assert "did not answer in time" in str(error)
    assert PATIENCE_SECONDS <= seconds < PATIENCE_SECONDS + patience.limit(0.3)


def test_a_call_from_the_pool_to_a_silent_server_fails_after_one_ping_and_one_connect(
    server: Postgres, impatient: Engine
) -> None:
    ask(impatient)

    with frozen(server):
        error, seconds = failure(lambda: ask(impatient))

    assert engines.unavailable(error)
    assert seconds < 2 * PATIENCE_SECONDS + patience.limit(0.3)


def test_connecting_to_a_silent_server_fails_within_its_patience(server: Postgres, impatient: Engine) -> None:
    with frozen(server):
        error, seconds = failure(lambda: ask(impatient))

    assert engines.unavailable(error)
    assert seconds < PATIENCE_SECONDS + patience.limit(0.3)


def test_once_the_server_answers_again_the_same_engine_works(server: Postgres, impatient: Engine) -> None:
    ask(impatient)
    with frozen(server):
        failure(lambda: ask(impatient))

    assert [ask(impatient) for _ in range(3)] == [42, 42, 42]


def test_after_a_restart_of_the_server_the_same_engine_works_at_once(server: Postgres, impatient: Engine) -> None:
    ask(impatient)

    server.kill()
    error, _ = failure(lambda: ask(impatient))
    server.start()

    assert engines.unavailable(error)
    assert ask(impatient) == 42


def test_an_autocommit_engine_notices_a_restart_with_one_failure_and_works_then(server: Postgres) -> None:
    engine = engines.engine(server.url(), patience_seconds=PATIENCE_SECONDS, autocommit=True)
    ask(engine)

    server.kill()
    server.start()
    error, _ = failure(lambda: ask(engine))

    assert engines.unavailable(error)
    assert ask(engine) == 42
    engine.dispose()


def test_a_statement_that_outlasts_its_patience_fails_and_its_connection_is_not_used_again(impatient: Engine) -> None:
    error, seconds = failure(lambda: _run(impatient, "SELECT pg_sleep(5)"))

    assert engines.unavailable(error)
    assert seconds < PATIENCE_SECONDS + patience.limit(0.3)
    assert ask(impatient) == 42


def test_an_engine_with_all_patience_waits_as_long_as_it_takes(server: Postgres) -> None:
    engine = engines.engine(server.url(), patience_seconds=None)

    _run(engine, f"SELECT pg_sleep({PATIENCE_SECONDS + 0.1})")

    assert ask(engine) == 42
    engine.dispose()


def test_a_pool_that_is_used_up_fails_within_its_patience(impatient: Engine) -> None:
    with impatient.connect(), impatient.connect():
        error, seconds = failure(lambda: ask(impatient))

    assert isinstance(error, PoolTimeoutError)
    assert engines.unavailable(error)
    assert seconds < PATIENCE_SECONDS + patience.limit(0.3)


def test_more_than_1024_open_files_do_not_disturb_a_connection(impatient: Engine) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4_096:
        pytest.skip(f"this system allows a process {hard} open files, so that none can be numbered above 1,024")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4_096, hard))
    files: list[int] = []

    try:
        while len(files) < 1_100:
            files.append(os.open(os.devnull, os.O_RDONLY))
        answer = ask(impatient)
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert answer == 42


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT 1/0", DataError),
        ("SELECT * FROM nowhere", ProgrammingError),
        ("INSERT INTO relay_state DEFAULT VALUES", IntegrityError),
    ],
)
def test_a_wrong_question_does_not_count_as_an_unavailable_server(
    shared_engine: Engine, statement: str, kind: type[Exception]
) -> None:
    error, _ = failure(lambda: _run(shared_engine, statement))

    assert isinstance(error, kind)
    assert not engines.unavailable(error)


def test_a_primary_that_became_a_standby_counts_as_unavailable(shared_engine: Engine) -> None:
    error, _ = failure(lambda: _run(shared_engine, "SET TRANSACTION READ ONLY; DELETE FROM heartbeats"))

    assert isinstance(error, InternalError)
    assert engines.unavailable(error)


def test_a_server_that_ended_the_session_counts_as_unavailable(shared_engine: Engine) -> None:
    error, _ = failure(lambda: _run(shared_engine, "SELECT pg_terminate_backend(pg_backend_pid())"))

    assert engines.unavailable(error)
    assert ask(shared_engine) == 42


def test_a_mistake_of_ours_does_not_count_as_an_unavailable_server() -> None:
    assert not engines.unavailable(ValueError())


def test_an_error_does_not_list_the_parameters_of_its_statement(shared_engine: Engine) -> None:
    statement = text("INSERT INTO relay_state (incarnation) VALUES (:secret)")

    def run() -> None:
        with shared_engine.begin() as conn:
            conn.execute(statement, {"secret": "s3cret"})

    error, _ = failure(run)

    assert isinstance(error, IntegrityError)
    assert "s3cret" not in str(error)


def test_a_call_is_repeated_until_the_server_answers() -> None:
    answers: list[Exception | int] = [_unavailable(), _unavailable(), 42]

    def call() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert engines.retrying(call, seconds=5, pause_seconds=0.001) == 42
    assert answers == []


def test_a_call_is_repeated_for_a_limited_time_and_the_last_failure_is_raised() -> None:
    calls = []

    def call() -> None:
        calls.append(time.monotonic())
        raise _unavailable()

    error, seconds = failure(lambda: engines.retrying(call, seconds=0.1, pause_seconds=0.02))

    assert isinstance(error, OperationalError)
    assert 3 <= len(calls) <= 6
    assert seconds < patience.limit(0.3)


def test_a_wrong_question_is_not_repeated(shared_engine: Engine) -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        _run(shared_engine, "SELECT 1/0")

    error, _ = failure(lambda: engines.retrying(call, seconds=5))

    assert isinstance(error, DataError)
    assert len(calls) == 1


def _run(engine: Engine, statement: str) -> None:
    with engine.begin() as conn:
        conn.exec_driver_sql(statement)


def _unavailable() -> OperationalError:
    return OperationalError("SELECT 1", {}, Exception("gone"))
