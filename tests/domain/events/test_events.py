"""Events one by one: in stream order, of one user, and as CloudEvents."""

import json
import re
from datetime import datetime
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy import text

from domain import locks
from domain.errors import CursorMalformed
from domain.events import epochs, feed, outbox
from domain.events.cursors import FORM, Cursor
from domain.events.feed import Filter
from tests.domain.farms import Farm, acquire


def number(farm: Farm) -> None:
    farm.do(lambda conn: outbox.sequence(conn, limit=1_000))


def following(farm: Farm, after: str, *, limit: int = 100) -> list[str]:
    cursor = Cursor.parse(after)
    return [str(e.cursor) for e in farm.do(lambda conn: feed.following(conn, after=cursor, limit=limit))]


@pytest.fixture
def rewound_farm(own_farm: Farm) -> Farm:
    """Its events are 1-1, 1-2, 1-3, 2-4, 2-5, 2-6; the stream once held 1-4 and 1-5 of a history that is gone."""
    own_farm.add_many(6)
    number(own_farm)
    own_farm.do(lambda conn: epochs.advance(conn, epoch=1, published_seq=3))
    own_farm.do(lambda conn: epochs.start(conn, epoch=2))
    return own_farm


def test_events_follow_each_other_in_stream_order_across_epochs(rewound_farm: Farm) -> None:
    assert following(rewound_farm, "0-0") == ["1-1", "1-2", "1-3", "2-4", "2-5", "2-6"]
    assert following(rewound_farm, "1-2") == ["1-3", "2-4", "2-5", "2-6"]
    assert following(rewound_farm, "2-4") == ["2-5", "2-6"]
    assert following(rewound_farm, "2-6") == []


@pytest.mark.parametrize("gone", ["1-4", "1-5", "1-999"])
def test_after_an_event_of_a_history_that_is_gone_the_newer_epoch_follows_from_its_start(
    rewound_farm: Farm, gone: str
) -> None:
    assert following(rewound_farm, gone) == ["2-4", "2-5", "2-6"]


def test_no_more_follow_than_are_asked_for(rewound_farm: Farm) -> None:
    assert following(rewound_farm, "1-1", limit=2) == ["1-2", "1-3"]


def test_an_event_is_found_by_its_number(rewound_farm: Farm) -> None:
    found = rewound_farm.do(lambda conn: feed.find(conn, seq=4))

    assert found is not None
    assert str(found.cursor) == "2-4"
    assert rewound_farm.do(lambda conn: feed.find(conn, seq=7)) is None


def test_the_oldest_number_is_known_while_there_is_one(own_farm: Farm) -> None:
    empty = own_farm.do(feed.oldest_seq)
    own_farm.add_many(3)
    number(own_farm)
    own_farm.do(lambda conn: conn.execute(text("DELETE FROM events WHERE seq = 1")))

    assert empty is None
    assert own_farm.do(feed.oldest_seq) == 2


def test_a_users_history_is_its_own_events_newest_first_in_pages(own_farm: Farm) -> None:
    user_id = own_farm.add()
    for _ in range(2):
        own_farm.add()
        own_farm.release(user_id, own_farm.hold(user_id).lease_id)
    number(own_farm)

    first = own_farm.do(lambda conn: feed.history(conn, user_id=user_id, limit=3))
    rest = own_farm.do(lambda conn: feed.history(conn, user_id=user_id, limit=3, after=str(first[-1].cursor)))

    assert [event.lock_version for event in first] == [5, 4, 3]
    assert [event.lock_version for event in rest] == [2, 1]
    assert {event.user_id for event in [*first, *rest]} == {user_id}


def test_a_history_after_what_is_no_cursor_is_malformed(own_farm: Farm) -> None:
    with pytest.raises(CursorMalformed):
        own_farm.do(lambda conn: feed.history(conn, user_id=UUID(int=0), limit=3, after="yesterday"))


def test_a_user_without_events_has_an_empty_history(own_farm: Farm) -> None:
    assert own_farm.do(lambda conn: feed.history(conn, user_id=UUID(int=0), limit=3)) == []


def test_a_lock_event_as_a_cloudevent_has_every_attribute_and_no_secret(own_farm: Farm) -> None:
    user_id = own_farm.add(login="bot-1", password="s3cret")
    lease_id = own_farm.hold(user_id, owner="ci-4711", metadata={"branch": "main"}).lease_id
    number(own_farm)
    row = own_farm.row(user_id)

    event = own_farm.do(lambda conn: feed.read(conn, after=None, limit=10, by=Filter())).events[1]
    form = feed.cloudevent(event)

    assert form == {
        "specversion": "1.0",
        "id": str(event.event_id),
        "source": "/botfarm",
        "type": "botfarm.lock.acquired.v1",
        "subject": f"users/{user_id}",
        "time": f"{row['locktime']:%Y-%m-%dT%H:%M:%S.%f}Z",
        "datacontenttype": "application/json",
        "sequence": "00000000000000000002",
        "epoch": "1",
        "cursor": "1-2",
        "partitionkey": str(user_id),
        "lockversion": 2,
        "data": {
            "user_id": str(user_id),
            "login": "bot-1",
            "project_id": None,
            "env": "stage",
            "domain": "regular",
            "owner": "ci-4711",
            "metadata": {"branch": "main"},
            "token": 2,
            "locktime": f"{row['locktime']:%Y-%m-%dT%H:%M:%S.%f}Z",
            "expires_at": f"{row['lock_expires_at']:%Y-%m-%dT%H:%M:%S.%f}Z",
            "reason": None,
            "note": None,
        },
    }
    for secret in ("s3cret", row["password_sealed"], str(lease_id)):
        assert secret not in json.dumps(form)


def test_a_user_event_says_what_the_user_is(own_farm: Farm) -> None:
    user_id = own_farm.add(login="bot-1", password="s3cret", env="prod", domain="vip", labels={"os": "linux"})

    (created,) = own_farm.events(user_id)

    assert created.type == "botfarm.user.created.v1"
    assert created.data == {
        "user_id": str(user_id),
        "login": "bot-1",
        "project_id": None,
        "env": "prod",
        "domain": "vip",
        "labels": {"os": "linux"},
        "status": "active",
        "status_reason": None,
    }


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns"])
def test_times_in_events_are_utc_whatever_the_sessions_zone(farm: Farm, user_id: UUID, zone: str) -> None:
    with farm.engine.begin() as conn:
        conn.execute(text(f"SET LOCAL timezone = '{zone}'"))
        locks.acquire(conn, [acquire(user_id)])

    body = farm.events(user_id)[-1].data["locktime"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", body)
    assert datetime.fromisoformat(body) == farm.row(user_id)["locktime"]


@given(epoch=st.integers(0, 10**9 - 1), seq=st.integers(0, 10**18 - 1))
def test_a_cursor_reads_back_as_it_was_written(epoch: int, seq: int) -> None:
    cursor = Cursor(epoch, seq)

    assert Cursor.parse(str(cursor)) == cursor


@given(text=st.text())
def test_any_other_text_is_no_cursor(text: str) -> None:
    assume(not FORM.fullmatch(text))

    with pytest.raises(CursorMalformed):
        Cursor.parse(text)


def test_cursors_are_ordered_by_epoch_and_then_by_number() -> None:
    cursors = [Cursor(1, 2), Cursor(1, 10), Cursor(2, 1), Cursor(10, 0)]

    assert all(earlier < later for earlier, later in pairwise(cursors))
