"""Re-sealing: the first key takes over what others have sealed, and nobody notices."""

import base64
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, func, select, text, update

from domain import sealing, users, webhooks
from domain.errors import SealBroken
from domain.postgres import engines
from domain.sealing import KeyRing, rotation
from domain.sealing.rotation import Found, Resealed
from domain.snapshots import User
from domain.tables import outbox
from domain.tables import users as user_rows
from domain.tables import webhooks as webhook_rows
from domain.users import NewUser

OLD, NEW = (f"{name}:{base64.b64encode(name[:1].encode() * 32).decode()}" for name in ("old", "new"))
BEFORE, BOTH, AFTER = sealing.parse(OLD), sealing.parse(f"{NEW},{OLD}"), sealing.parse(NEW)
PASSWORD = user_rows.c.password_sealed


def grow(engine: Engine, count: int, *, ring: KeyRing = BEFORE, password: str | None = "s3cret") -> list[UUID]:
    with engine.begin() as conn:
        new = [NewUser(f"bot-{uuid4().hex}", password) for _ in range(count)]
        return [user.id for user in users.create_many(conn, new=new, ring=ring) if isinstance(user, User)]


def reseal(engine: Engine, ids: Sequence[UUID], *, ring: KeyRing = BOTH) -> Resealed:
    with engine.begin() as conn:
        return rotation.reseal(conn, column=PASSWORD, ids=ids, ring=ring)


def look(engine: Engine, *, after: UUID | None = None, limit: int = 100) -> Sequence[Found]:
    with engine.begin() as conn:
        return rotation.look(conn, column=PASSWORD, after=after, limit=limit)


def opened(engine: Engine, user_id: UUID, *, ring: KeyRing) -> str:
    with engine.begin() as conn:
        sealed = conn.execute(select(PASSWORD).where(user_rows.c.id == user_id)).scalar_one()
    return ring.unseal(sealed, user_id=user_id)


def test_what_an_older_key_has_sealed_is_sealed_by_the_first_and_opens_without_the_older(engine: Engine) -> None:
    (user_id,) = grow(engine, 1)
    with pytest.raises(SealBroken):
        opened(engine, user_id, ring=AFTER)

    done = reseal(engine, [user_id])

    assert done == Resealed([user_id], [])
    assert opened(engine, user_id, ring=AFTER) == "s3cret"


def test_nothing_else_of_the_user_changes_and_there_is_no_event(engine: Engine) -> None:
    (user_id,) = grow(engine, 1)
    columns = [column for column in user_rows.c if column.name != "password_sealed"]
    row, events = select(*columns).where(user_rows.c.id == user_id), select(func.count()).select_from(outbox)
    with engine.begin() as conn:
        before = conn.execute(row).one(), conn.execute(events).scalar_one()

    reseal(engine, [user_id])

    with engine.begin() as conn:
        assert (conn.execute(row).one(), conn.execute(events).scalar_one()) == before


def test_a_row_that_somebody_has_locked_is_left_for_later_and_its_neighbours_are_not(engine: Engine) -> None:
    locked, free = grow(engine, 2)
    with engine.begin() as other:
        other.execute(select(user_rows.c.id).where(user_rows.c.id == locked).with_for_update(key_share=True))

        done = reseal(engine, [locked, free])

    assert done == Resealed([free], [])
    assert opened(engine, locked, ring=BEFORE) == "s3cret"


def test_a_password_that_was_changed_after_it_was_read_is_not_set_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user_id,) = grow(engine, 1)
    changed = BEFORE.seal("changed", user_id=user_id)
    real = KeyRing.unseal

    def unseal_while_it_changes(ring: KeyRing, sealed: str, *, user_id: UUID) -> str:
        with engine.begin() as conn:
            conn.execute(update(user_rows).values(password_sealed=changed).where(user_rows.c.id == user_id))
        return real(ring, sealed, user_id=user_id)

    with monkeypatch.context() as patch:
        patch.setattr(KeyRing, "unseal", unseal_while_it_changes)
        done = reseal(engine, [user_id])

    assert done == Resealed([], [])
    assert opened(engine, user_id, ring=BEFORE) == "changed"


def test_a_row_that_does_not_open_is_named_left_as_it_is_and_holds_up_no_other(engine: Engine) -> None:
    good, gone, swapped = grow(engine, 3)
    with engine.begin() as conn:
        stranger = sealing.parse(f"x:{base64.b64encode(b'x' * 32).decode()}").seal("s3cret", user_id=gone)
        conn.execute(update(user_rows).values(password_sealed=stranger).where(user_rows.c.id == gone))
        others = BEFORE.seal("s3cret", user_id=good)
        conn.execute(update(user_rows).values(password_sealed=others).where(user_rows.c.id == swapped))

    done = reseal(engine, [good, gone, swapped])

    assert (done.ids, set(done.unreadable)) == ([good], {gone, swapped})


def test_a_look_goes_through_all_rows_in_pages_and_tells_their_keys(engine: Engine) -> None:
    old, new, none = grow(engine, 2), grow(engine, 2, ring=BOTH), grow(engine, 1, password=None)

    found: list[Found] = []
    while page := look(engine, after=found[-1].id if found else None, limit=2):
        found += page

    assert [row.id for row in found] == sorted(row.id for row in found)
    assert {row.id: row.key_id for row in found} == {
        **dict.fromkeys(old, "old"),
        **dict.fromkeys(new, "new"),
        **dict.fromkeys(none),
    }


@pytest.mark.parametrize("column", [webhook_rows.c.secret_sealed, webhook_rows.c.previous_secret_sealed], ids=str)
def test_secrets_of_webhooks_are_sealed_again_too(engine: Engine, column: object) -> None:
    with engine.begin() as conn:
        webhook, secret = webhooks.create(conn, new=webhooks.NewWebhook("https://example.com"), ring=BEFORE)
        conn.execute(
            text(
                "UPDATE webhooks SET previous_secret_sealed = secret_sealed,"
                " previous_valid_until = clock_timestamp() + interval '1 day'"
            )
        )

    with engine.begin() as conn:
        rotation.reseal(conn, column=column, ids=[webhook.id], ring=BOTH)  # type: ignore[arg-type]
        sealed = conn.execute(select(column)).scalar_one()  # type: ignore[call-overload]

    assert AFTER.unseal(sealed, user_id=webhook.id) == secret


def test_every_sealed_column_is_rotated() -> None:
    sealed = {column for table in (user_rows, webhook_rows) for column in table.c if column.name.endswith("_sealed")}

    every = {column for table in user_rows.metadata.tables.values() for column in table.c}
    assert set(rotation.SEALED) == sealed == {column for column in every if column.name.endswith("_sealed")}


@pytest.mark.parametrize("prepare", [False, True])
def test_a_look_goes_as_well_when_its_statement_is_prepared(engine: Engine, *, prepare: bool) -> None:
    """Workers prepare what they say for the second time, and a prepared statement takes numbers as bigint."""
    (user_id,) = grow(engine, 1)
    workers = engines.engine(engine.url.render_as_string(hide_password=False), pool_size=1, prepare=prepare)

    looks = [list(look(workers, after=after)) for after in (None, None, None, UUID(int=0), UUID(int=0), UUID(int=0))]
    workers.dispose()

    assert looks == [[Found(user_id, "old")]] * 6
