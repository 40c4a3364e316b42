"""Creating users: each with its event and its sealed password, and no login twice."""

import functools
import random
import uuid
from collections.abc import Collection
from uuid import UUID

import pytest
from sqlalchemy import text

from domain import users
from domain.errors import LoginTaken, Refusal, SealingUnconfigured, UserNotFound
from domain.sealing import KeyRing
from domain.snapshots import User
from domain.users import NewUser
from tests.domain.farms import Farm
from tests.domain.postgres.threads import together


def create_many(farm: Farm, *new: NewUser) -> list[User | Refusal]:
    return farm.do(lambda conn: users.create_many(conn, new=new, ring=farm.ring))


def a_login() -> str:
    return f"bot-{uuid.uuid4().hex}"


def test_a_new_user_is_free_active_and_at_version_one(farm: Farm) -> None:
    login, project_id = a_login(), uuid.uuid4()
    new = NewUser(login, project_id=project_id, env="prod", domain="vip", labels={"os": "linux"})

    user = farm.do(lambda conn: users.create(conn, new=new, ring=farm.ring))

    assert (user.login, user.project_id, user.env, user.domain) == (login, project_id, "prod", "vip")
    assert (user.labels, user.status, user.status_reason) == ({"os": "linux"}, "active", None)
    assert (user.lock, user.lock_version) == (None, 1)
    assert user.created_at == user.updated_at == user.seen_at
    assert farm.story(user.id) == ["created"]


def test_env_and_domain_have_defaults(farm: Farm) -> None:
    user_id = farm.add()

    row = farm.row(user_id)

    assert (row["env"], row["domain"], row["project_id"], row["labels"]) == ("stage", "regular", None, {})


def test_the_time_of_creation_is_the_databases(farm: Farm) -> None:
    read_clock = text("SELECT clock_timestamp()")
    before = farm.do(lambda conn: conn.execute(read_clock).scalar_one())

    row = farm.row(farm.add())

    assert before <= row["created_at"] <= farm.do(lambda conn: conn.execute(read_clock).scalar_one())
    assert row["available_at"] == row["created_at"]


def test_the_password_on_the_row_is_sealed_for_its_user(farm: Farm) -> None:
    user_id = farm.add(password="s3cret")

    row = farm.row(user_id)

    assert "s3cret" not in str(row)
    assert farm.ring.unseal(row["password_sealed"], user_id=user_id) == "s3cret"
    assert "password" not in str(farm.events(user_id)).lower()


def test_a_user_may_have_no_password(farm: Farm) -> None:
    assert farm.row(farm.add())["password_sealed"] is None


def test_a_new_user_does_not_show_its_password() -> None:
    assert "s3cret" not in repr(NewUser("bot", password="s3cret"))


def test_a_login_that_is_taken_is_refused_and_writes_nothing(farm: Farm) -> None:
    user_id = farm.add(login=(login := a_login()), env="prod")
    before = farm.picture(user_id)

    with pytest.raises(LoginTaken) as raised:
        farm.add(login=login)

    assert raised.value.login == login
    assert farm.picture(user_id) == before


def test_logins_differ_by_case_and_by_every_byte(farm: Farm) -> None:
    login = a_login()

    made = create_many(farm, NewUser(login), NewUser(login.upper()), NewUser(f"{login} "), NewUser(f"{login}é"))

    assert all(isinstance(user, User) for user in made)


def test_a_batch_answers_in_order_and_a_bad_row_does_not_disturb_its_neighbours(farm: Farm) -> None:
    taken, first, last = a_login(), a_login(), a_login()
    farm.add(login=taken)

    made = create_many(farm, NewUser(first), NewUser(taken), NewUser(last))

    assert [type(outcome) for outcome in made] == [User, LoginTaken, User]
    assert [getattr(outcome, "login", None) for outcome in made] == [first, taken, last]


def test_a_login_twice_in_a_batch_goes_to_the_first(farm: Farm) -> None:
    login = a_login()

    first, second = create_many(farm, NewUser(login, env="prod"), NewUser(login, env="stage"))

    assert isinstance(first, User)
    assert first.env == "prod"
    assert isinstance(second, LoginTaken)
    assert farm.story(first.id) == ["created"]


def test_without_a_sealing_key_only_users_with_a_password_are_refused(farm: Farm) -> None:
    new = [NewUser(a_login(), password="s3cret"), NewUser(a_login())]

    refused, made = farm.do(lambda conn: users.create_many(conn, new=new, ring=KeyRing()))

    assert isinstance(refused, SealingUnconfigured)
    assert isinstance(made, User)
    with pytest.raises(SealingUnconfigured):
        farm.do(lambda conn: users.create(conn, new=new[0], ring=KeyRing()))


def test_a_refused_password_does_not_use_up_its_login(farm: Farm) -> None:
    login = a_login()
    new = [NewUser(login, password="s3cret"), NewUser(login)]

    refused, made = farm.do(lambda conn: users.create_many(conn, new=new, ring=KeyRing()))

    assert isinstance(refused, SealingUnconfigured)
    assert isinstance(made, User)


def test_an_empty_batch_is_answered_with_nothing(farm: Farm) -> None:
    assert create_many(farm) == []


def test_overlapping_batches_in_parallel_never_deadlock_and_make_each_user_once(own_farm: Farm) -> None:
    logins = [f"bot-{number:03}" for number in range(200)]

    def create(thread: int) -> int:
        shuffled = random.Random(thread).sample(logins, k=150)
        batches = [shuffled[start : start + 50] for start in range(0, 150, 50)]
        made = [create_many(own_farm, *map(NewUser, batch)) for batch in batches]
        return sum(isinstance(outcome, User) for outcomes in made for outcome in outcomes)

    made = together([functools.partial(create, thread) for thread in range(8)])

    rows = own_farm.do(lambda conn: conn.execute(text("SELECT id, login FROM users ORDER BY login")).all())
    assert sum(made) == len(rows)
    assert {row.login for row in rows} <= set(logins)
    assert own_farm.stories([row.id for row in rows]) == [["created"]] * len(rows)


def get(farm: Farm, user_id: UUID, *, projects: Collection[UUID] | None = None) -> User:
    return farm.do(lambda conn: users.get(conn, user_id=user_id, projects=projects))


def test_a_user_is_got_as_it_is_now(farm: Farm) -> None:
    user_id = farm.add(labels={"os": "linux"})
    free = get(farm, user_id)
    grant = farm.hold(user_id)
    held = get(farm, user_id)
    farm.lapse(user_id)
    lapsed = get(farm, user_id)

    assert (free.id, free.labels, free.lock) == (user_id, {"os": "linux"}, None)
    assert held.lock is not None
    assert grant.user.lock is not None
    assert (held.lock.owner, held.lock.token) == (grant.user.lock.owner, grant.user.lock.token)
    assert held.lock.expires_at == grant.user.lock.expires_at
    assert 0 < held.lock.ttl_seconds < 900
    assert lapsed.lock is None


def test_a_user_that_does_not_exist_or_lies_outside_the_projects_is_not_found(farm: Farm) -> None:
    project_id = uuid.uuid4()
    inside, outside = farm.add(project_id=project_id), farm.add()

    found = get(farm, inside, projects=[project_id])

    assert found.id == inside
    with pytest.raises(UserNotFound):
        get(farm, outside, projects=[project_id])
    with pytest.raises(UserNotFound):
        get(farm, inside, projects=[])
    with pytest.raises(UserNotFound):
        get(farm, uuid.uuid4())
