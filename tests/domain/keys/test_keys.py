"""API keys: their form, what is kept of them, and how long they are good."""

import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, text

from domain import keys
from domain.errors import KeyNameTaken, KeyNotFound
from domain.keys import Key, NewKey, Recognised, forms
from domain.postgres import clocks
from tests import patience
from tests.domain.postgres.threads import together

DAY = timedelta(days=1)
PROJECT, OTHER = uuid.uuid4(), uuid.uuid4()


@pytest.fixture
def conn(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as conn:
        yield conn


def made(conn: Connection, name: str = "ci", **fields: object) -> tuple[Key, str]:
    new = NewKey(name, **{"scopes": ["lock"], **fields})  # type: ignore[arg-type]
    return keys.create(conn, new=new, created_by="test")


def recognised(conn: Connection, key: str) -> Recognised | None:
    digest = keys.digest(key)
    assert digest is not None
    return keys.recognise(conn, digest=digest)


def test_a_key_is_a_prefix_32_random_characters_and_6_that_check_them() -> None:
    some = {forms.make() for _ in range(1_000)}

    assert len(some) == 1_000
    assert all(forms.FORM.fullmatch(key) and len(key) == 3 + 32 + 6 for key in some)
    assert all(keys.digest(key) is not None for key in some)


def test_the_checksum_is_the_crc_32_in_base_62() -> None:
    assert forms.digest("bf_" + "0" * 32 + "20UjDy") is not None  # 1839589350, the CRC-32 of what comes before


@pytest.mark.parametrize("place", range(3, 41))
def test_a_key_with_any_one_character_wrong_is_none(place: int) -> None:
    key = forms.make()

    wrong = key[:place] + ("x" if key[place] != "x" else "y") + key[place + 1 :]

    assert keys.digest(wrong) is None


@pytest.mark.parametrize(
    "presented", ["", "bf_", "x" * 41, "bf_" + "é" * 38, "bf_" + "\u0660" * 38, "bf_" + "a" * 10_000]
)
def test_what_does_not_look_like_a_key_is_none(presented: str) -> None:
    assert keys.digest(presented) is None
    assert keys.digest(f"{forms.make()}\n") is None


def test_a_key_cannot_be_derived_from_what_is_stored_or_shown_of_it(conn: Connection) -> None:
    body, key = made(conn)

    kept = str(conn.execute(text("SELECT k::text FROM api_keys k")).scalar_one())
    assert key not in kept
    assert key[8:] not in kept
    assert key[8:] not in repr(body)
    assert body.hint == key[:8]


def test_a_key_is_recognised_with_all_it_may_do(conn: Connection) -> None:
    body, key = made(conn, scopes=["events", "read"], projects=[PROJECT], locks_most=3)

    found = recognised(conn, key)

    assert found is not None
    assert (found.id, found.name, found.scopes) == (body.id, "ci", frozenset({"read", "events"}))
    assert (found.projects, found.locks_most, found.seconds_left) == (frozenset({PROJECT}), 3, None)
    assert recognised(conn, forms.make()) is None


def test_an_expiry_is_judged_by_the_database_clock(conn: Connection) -> None:
    _, late = made(conn, "late", expires_at=clocks.now(conn) - timedelta(microseconds=1))
    _, soon = made(conn, "soon", expires_at=clocks.now(conn) + timedelta(seconds=30))

    found = recognised(conn, soon)
    assert recognised(conn, late) is None
    assert found is not None
    assert found.seconds_left == pytest.approx(30, abs=1)


def test_a_rotated_key_and_the_one_before_are_both_good_for_the_overlap_and_no_third(conn: Connection) -> None:
    body, first = made(conn)
    _, second = keys.rotate(conn, key_id=body.id, overlap=DAY)
    before = recognised(conn, first)
    _, third = keys.rotate(conn, key_id=body.id, overlap=DAY)

    assert before is not None
    assert before.seconds_left == pytest.approx(DAY.total_seconds(), abs=5)
    assert recognised(conn, first) is None
    assert [getattr(recognised(conn, key), "seconds_left", 0) is None for key in (second, third)] == [False, True]


def test_without_an_overlap_the_key_before_ends_at_once(conn: Connection) -> None:
    body, first = made(conn)

    after, second = keys.rotate(conn, key_id=body.id, overlap=timedelta(0))

    assert recognised(conn, first) is None
    assert recognised(conn, second) is not None
    assert (after.previous_valid_until, after.hint) == (None, second[:8])


def test_the_overlap_never_outlives_the_key(conn: Connection) -> None:
    body, first = made(conn, expires_at=clocks.now(conn) + timedelta(seconds=30))
    keys.rotate(conn, key_id=body.id, overlap=DAY)

    found = recognised(conn, first)

    assert found is not None
    assert found.seconds_left == pytest.approx(30, abs=1)


def test_a_revoked_key_is_over_with_the_one_before_it_and_cannot_be_rotated(conn: Connection) -> None:
    body, first = made(conn)
    _, second = keys.rotate(conn, key_id=body.id, overlap=DAY)

    keys.revoke(conn, key_id=body.id)
    revoked_at = keys.get(conn, key_id=body.id).revoked_at
    keys.revoke(conn, key_id=body.id)

    assert (recognised(conn, first), recognised(conn, second)) == (None, None)
    assert keys.get(conn, key_id=body.id).revoked_at == revoked_at
    with pytest.raises(KeyNotFound):
        keys.rotate(conn, key_id=body.id, overlap=DAY)


def test_a_name_is_taken_until_its_key_is_revoked(conn: Connection) -> None:
    body, _ = made(conn)
    with pytest.raises(KeyNameTaken):
        made(conn)

    keys.revoke(conn, key_id=body.id)

    again, _ = made(conn)
    assert again.id != body.id


def test_of_many_who_want_one_name_at_once_one_gets_it(engine: Engine) -> None:
    def make() -> bool:
        with engine.begin() as conn:
            try:
                made(conn, "wanted")
            except KeyNameTaken:
                return False
        return True

    assert sorted(together([make] * 8)) == [False] * 7 + [True]


def test_who_is_limited_to_projects_sees_the_keys_that_may_do_no_more(conn: Connection) -> None:
    narrow, _ = made(conn, "narrow", projects=[PROJECT])
    wide, _ = made(conn, "wide", projects=[PROJECT, OTHER])
    unlimited, _ = made(conn, "unlimited")

    assert [key.id for key in keys.find(conn, limit=10, projects=[PROJECT])] == [narrow.id]
    assert len(keys.find(conn, limit=10)) == 3
    for key in (wide, unlimited):
        with pytest.raises(KeyNotFound):
            keys.revoke(conn, key_id=key.id, projects=[PROJECT])
        with pytest.raises(KeyNotFound):
            keys.rotate(conn, key_id=key.id, overlap=DAY, projects=[PROJECT])


def test_a_use_is_noted_once_a_minute(engine: Engine) -> None:
    with engine.begin() as conn:
        body, key = made(conn)
        assert getattr(recognised(conn, key), "unnoted", None) is True
    with engine.begin() as conn:
        keys.note_use(conn, ids=[body.id])
        noted = keys.get(conn, key_id=body.id).last_used_at
        assert getattr(recognised(conn, key), "unnoted", None) is False
    with engine.begin() as conn:
        keys.note_use(conn, ids=[body.id])
        assert keys.get(conn, key_id=body.id).last_used_at == noted
        conn.execute(text("UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds'"))
        keys.note_use(conn, ids=[body.id])
        later = keys.get(conn, key_id=body.id).last_used_at

    assert noted is not None
    assert later is not None
    assert later > noted


def test_noting_a_use_never_waits_for_who_counts_locks(engine: Engine) -> None:
    with engine.begin() as conn:
        body, _ = made(conn)
    done = threading.Event()

    def note() -> None:
        with engine.begin() as conn:
            keys.note_use(conn, ids=[body.id])
        done.set()

    with engine.begin() as conn:
        conn.execute(text("SELECT FROM api_keys FOR NO KEY UPDATE"))
        threading.Thread(target=note).start()
        assert done.wait(patience.limit(5))
