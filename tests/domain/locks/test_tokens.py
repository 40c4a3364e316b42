"""Fencing tokens: they grow with every grant of a user, and no database grants before its epoch was raised."""

import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

import domain
from domain import keys, requests
from domain.errors import DatabaseUnavailable
from domain.events import epochs
from domain.keys import NewKey
from domain.locks import Grant, quotas
from domain.postgres import engines
from domain.requests import Ask, Enqueue, Granted, Place
from domain.snapshots import User
from standalone.processes import processes
from standalone.servers import binaries
from tests.domain.farms import ALICE, TTL, Farm, acquire
from tests.domain.postgres.threads import together

NAME = f"botfarm_restored_{uuid.uuid4().hex[:12]}"
EPOCH = 2**32
JSON_EXACT = 2**53
Move = Callable[[], None]
T = TypeVar("T")
WRITES_TOKEN = re.compile(r"\block_token\s*=")


@dataclass(frozen=True)
class Within(Farm):
    """A farm whose verbs are all parts of one transaction."""

    conn: Connection

    def do(self, work: Callable[[Connection], T]) -> T:
        return work(self.conn)


@pytest.fixture
def restored(admin_engine: Engine) -> Iterator[Callable[[Farm], Farm]]:
    """What a dump of a farm makes in a database that is new."""
    made: list[Engine] = []

    def restore(farm: Farm) -> Farm:
        with admin_engine.connect() as conn:
            conn.execute(text(f"CREATE DATABASE {NAME}"))
        made.append(engines.engine(_url(farm, database=NAME)))
        programs = binaries.postgres(account=None)
        dump = processes.run([str(programs / "pg_dump"), _libpq(farm.engine)])
        assert dump.returncode == 0, dump.stderr
        command = [str(programs / "psql"), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", _libpq(made[0])]
        # This pg_dump sets what an older server does not know.
        known = dump.stdout.replace("SET transaction_timeout = 0;\n", "")
        subprocess.run(command, input=known, text=True, check=True, stdout=subprocess.DEVNULL)
        return Farm(made[0], farm.ring)

    yield restore
    for engine in made:
        engine.dispose()
    with admin_engine.connect() as conn:
        conn.execute(text(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)"))


def _url(farm: Farm, *, database: str | None = None) -> str:
    return farm.engine.url.set(database=database or farm.engine.url.database).render_as_string(hide_password=False)


def _libpq(engine: Engine) -> str:
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def move(farm: Farm, *, to: str = "1/00000001/1") -> None:
    """Let the farm's database be another one than before, as after a restore."""
    farm.do(lambda conn: conn.execute(text("UPDATE relay_state SET incarnation = :noted"), {"noted": to}))


def token(user: User) -> int:
    assert user.lock is not None
    return user.lock.token


def by_id(farm: Farm, user_id: UUID, moved: Move) -> User:
    moved()
    return farm.hold(user_id).user


def by_a_limited_key(farm: Farm, user_id: UUID, moved: Move) -> User:
    new = NewKey(name=uuid.uuid4().hex, scopes=keys.SCOPES, projects=None, locks_most=1, expires_at=None)
    farm.do(lambda conn: keys.create(conn, new=new, created_by="test"))
    moved()
    (outcome,) = farm.do(lambda conn: quotas.acquire(conn, [acquire(user_id, principal=new.name, limited=True)]))
    assert isinstance(outcome, Grant), outcome
    return outcome.user


def out_of_the_pool(farm: Farm, _user_id: UUID, moved: Move) -> User:
    moved()
    (outcome,) = farm.do(lambda conn: requests.take(conn, [Ask(uuid.uuid4(), ALICE, ALICE, TTL)]))
    assert isinstance(outcome, Granted), outcome
    return outcome.grants[0].user


def by_waiting_in_line(farm: Farm, user_id: UUID, moved: Move) -> User:
    home, ask = uuid.uuid4(), Ask(uuid.uuid4(), ALICE, ALICE, TTL)
    farm.do(lambda conn: requests.beat(conn, home=home))
    held = farm.hold(user_id)
    (place,) = farm.do(lambda conn: requests.enqueue(conn, [Enqueue(ask, home)]))
    assert isinstance(place, Place)
    farm.release(user_id, held.lease_id)
    moved()
    (handover,) = farm.do(lambda conn: requests.dispatch(conn, home=home)).handovers
    return handover.granted.grants[0].user


WAYS = [by_id, by_a_limited_key, out_of_the_pool, by_waiting_in_line]
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@ways
def test_in_the_first_epoch_a_token_is_the_version_of_the_grant(
    way: Callable[[Farm, UUID, Move], User], own_farm: Farm
) -> None:
    user = way(own_farm, own_farm.add(), lambda: None)

    assert token(user) == user.lock_version


@ways
def test_a_database_that_is_another_one_raises_its_epoch_before_it_grants(
    way: Callable[[Farm, UUID, Move], User], own_farm: Farm
) -> None:
    own_farm.do(epochs.adopt)

    user = way(own_farm, own_farm.add(), lambda: move(own_farm))

    assert token(user) == EPOCH + user.lock_version
    assert own_farm.do(epochs.look).known
    assert own_farm.do(epochs.read).epoch == 2


def test_the_ways_to_grant_above_are_all_there_are() -> None:
    """Both statements that grant are made with the same step, the only one that writes a token."""
    sources = {path: path.read_text() for path in Path(domain.__path__[0]).rglob("*.py")}

    writing = [path.name for path, source in sources.items() if WRITES_TOKEN.search(source)]
    granting = sorted(path.name for path, source in sources.items() if "{sql_steps.GRANTED}" in source)
    checked = sorted(path.name for path, source in sources.items() if "{tokens.ERA}" in source)

    assert writing == ["sql_steps.py"]
    assert granting == checked == ["acquiring.py", "granting.py"]


def test_a_database_that_nobody_has_used_grants_without_a_worker_in_its_first_epoch(own_farm: Farm) -> None:
    assert own_farm.do(epochs.read).incarnation is None

    own_farm.hold(own_farm.add())

    assert own_farm.do(epochs.look).known
    assert own_farm.do(epochs.read).epoch == 1


def test_tokens_go_on_above_an_epoch_that_was_raised_by_hand(own_farm: Farm) -> None:
    user_id = own_farm.add()
    before = own_farm.hold(user_id)
    own_farm.release(user_id, before.lease_id)
    own_farm.do(lambda conn: epochs.start(conn, epoch=2))

    after = own_farm.hold(user_id).user

    assert token(after) == EPOCH + after.lock_version
    assert own_farm.events(user_id)[-1].data["token"] == token(after)


def test_a_grant_that_waited_while_the_epoch_rose_stays_above_those_that_did_not(own_farm: Farm) -> None:
    """It read the epoch before the wait, and quicker ones have granted in the new epoch since."""
    user_id = own_farm.add()
    own_farm.do(epochs.adopt)
    with own_farm.engine.begin() as quick, ThreadPoolExecutor(1) as pool:
        quick.execute(text("SELECT FROM users WHERE id = :id FOR UPDATE"), {"id": user_id})
        waiting = pool.submit(own_farm.hold, user_id)
        own_farm.await_waiting()
        own_farm.do(lambda conn: epochs.start(conn, epoch=2))
        inside = Within(own_farm.engine, own_farm.ring, quick)
        held = inside.hold(user_id)
        inside.release(user_id, held.lease_id)
        quick.commit()
        late = waiting.result()

    assert token(held.user) == EPOCH + held.user.lock_version
    assert token(late.user) == token(held.user) + 1  # composed of the epoch it read, it would be `lock_version`


def test_of_many_first_grants_in_another_database_one_raises_the_epoch(own_farm: Farm) -> None:
    user_ids = own_farm.add_many(16)
    own_farm.do(epochs.adopt)
    move(own_farm)
    url = _url(own_farm)
    processes = [engines.engine(url, pool_size=4, autocommit=n % 2 == 0, prepare=True) for n in range(4)]
    farms = [Farm(engine, own_farm.ring) for engine in processes for _ in range(4)]

    grants = together([partial(farm.hold, user_id) for farm, user_id in zip(farms, user_ids, strict=True)])

    for engine in processes:
        engine.dispose()
    assert [token(grant.user) for grant in grants] == [EPOCH + 2] * 16
    assert own_farm.do(epochs.read).epoch == 2


def test_who_cannot_adopt_grants_nothing(own_farm: Farm) -> None:
    user_id = own_farm.add()
    own_farm.do(epochs.adopt)
    move(own_farm)
    url = _url(own_farm)
    impatient = engines.engine(url, patience_seconds=1, autocommit=True)

    with own_farm.engine.begin() as hung:
        epochs.lock(hung)
        with pytest.raises(OperationalError) as caught:
            Farm(impatient, own_farm.ring).hold(user_id)

    impatient.dispose()
    assert engines.unavailable(caught.value)
    assert own_farm.row(user_id)["lock_token"] is None


def test_who_is_never_known_is_refused_and_not_tried_for_ever(own_farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    user_id = own_farm.add()
    monkeypatch.setattr(epochs, "adopt", lambda conn: move(own_farm))

    with pytest.raises(DatabaseUnavailable):
        own_farm.hold(user_id)

    assert own_farm.row(user_id)["lock_token"] is None


def test_a_copy_that_is_restored_grants_above_what_the_original_grants(
    own_farm: Farm, restored: Callable[[Farm], Farm]
) -> None:
    user_ids = own_farm.add_many(3)
    for user_id in user_ids:
        own_farm.release(user_id, own_farm.hold(user_id).lease_id)
    copy = restored(own_farm)

    here = [own_farm.hold(user_id).user for user_id in user_ids]
    there = [copy.hold(user_id).user for user_id in user_ids]

    assert [user.lock_version for user in here] == [user.lock_version for user in there]  # the old tokens: all twice
    assert [token(user) + EPOCH for user in here] == [token(user) for user in there]


def test_tokens_stay_exact_in_json_up_to_two_million_epochs(own_farm: Farm) -> None:
    user_id = own_farm.add()
    own_farm.do(lambda conn: epochs.start(conn, epoch=2**21))
    own_farm.set(user_id, lock_version=2**32 - 2)

    last = token(own_farm.hold(user_id).user)

    assert last == JSON_EXACT - 1
