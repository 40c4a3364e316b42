"""The feed: pages, filters and cursors, as every consumer reads it."""

import uuid
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from domain.errors import CursorMalformed, CursorTooOld, CursorUnknown
from domain.events import epochs, feed, outbox
from domain.events.cursors import Cursor
from domain.events.feed import Event, Filter, Page
from tests.domain.farms import Farm

EVERYTHING = Filter()


def numbered(farm: Farm, count: int, **fields: Any) -> list[UUID]:
    """That many new users, each with its numbered event."""
    user_ids = [farm.add(**fields) for _ in range(count)]
    number(farm)
    return user_ids


def number(farm: Farm) -> None:
    farm.do(lambda conn: outbox.sequence(conn, limit=1_000))


def read(farm: Farm, *, after: str | None = None, limit: int = 100, by: Filter = EVERYTHING) -> Page:
    return farm.do(lambda conn: feed.read(conn, after=after, limit=limit, by=by))


def seqs(found: Page | list[Event]) -> list[int]:
    return [event.cursor.seq for event in (found.events if isinstance(found, Page) else found)]


def drop_oldest(farm: Farm, *, up_to: int) -> None:
    """As a partition that was dropped: its events are gone."""
    farm.do(lambda conn: conn.execute(text("DELETE FROM events WHERE seq <= :up_to"), {"up_to": up_to}))


def test_a_feed_without_events_is_caught_up_at_its_beginning(own_farm: Farm) -> None:
    assert read(own_farm) == Page([], Cursor(1, 0), caught_up=True)
    assert read(own_farm, after="1-0") == Page([], Cursor(1, 0), caught_up=True)


def test_pages_follow_each_other_without_gap_or_overlap(own_farm: Farm) -> None:
    numbered(own_farm, 5)

    first = read(own_farm, limit=2)
    second = read(own_farm, after=str(first.looked), limit=2)
    third = read(own_farm, after=str(second.looked), limit=2)
    fourth = read(own_farm, after=str(third.looked), limit=2)

    assert [seqs(page) for page in (first, second, third, fourth)] == [[1, 2], [3, 4], [5], []]
    assert [page.caught_up for page in (first, second, third, fourth)] == [False, False, True, True]
    assert [page.looked.seq for page in (first, second, third, fourth)] == [2, 4, 5, 5]


def test_a_page_that_ends_with_the_last_event_is_caught_up(own_farm: Farm) -> None:
    numbered(own_farm, 2)

    page = read(own_farm, limit=2)

    assert (page.looked, page.caught_up) == (Cursor(1, 2), True)


def test_an_event_says_what_happened_to_whom_when(own_farm: Farm) -> None:
    user_id = own_farm.add()
    lease_id = own_farm.hold(user_id, metadata={"branch": "main"}).lease_id
    number(own_farm)

    event = read(own_farm).events[1]

    row = own_farm.row(user_id)
    assert (event.cursor, event.user_id, event.lock_version) == (Cursor(1, 2), user_id, 2)
    assert (event.type, event.occurred_at) == ("botfarm.lock.acquired.v1", row["locktime"])
    assert (event.data["token"], event.data["metadata"]) == (2, {"branch": "main"})
    assert 0 <= event.age_seconds < 60
    assert str(lease_id) not in str(event)


def test_changes_that_have_no_number_yet_are_not_read(own_farm: Farm) -> None:
    numbered(own_farm, 1)
    own_farm.add()

    assert seqs(read(own_farm)) == [1]


@pytest.mark.parametrize("kind", ["types", "user_id", "project_id", "env"])
def test_each_filter_lets_through_what_it_names_and_looks_on_past_the_rest(own_farm: Farm, kind: str) -> None:
    numbered(own_farm, 2)
    project_id = uuid.uuid4()
    (user_id,) = numbered(own_farm, 1, project_id=project_id, env="prod")
    own_farm.hold(user_id)
    numbered(own_farm, 2)
    by, expected = {
        "types": (Filter(types=["botfarm.lock.acquired.v1"]), [4]),
        "user_id": (Filter(user_id=user_id), [3, 4]),
        "project_id": (Filter(project_id=project_id), [3, 4]),
        "env": (Filter(env="prod"), [3, 4]),
    }[kind]

    page = read(own_farm, by=by)

    assert seqs(page) == expected
    assert (page.looked, page.caught_up) == (Cursor(1, 6), True)


def test_filters_hold_together(own_farm: Farm) -> None:
    first, second = own_farm.add(env="prod"), own_farm.add(env="prod")
    own_farm.hold(first)
    own_farm.hold(second)
    number(own_farm)

    page = read(own_farm, by=Filter(types=["botfarm.lock.acquired.v1"], env="prod", user_id=second))

    assert [event.user_id for event in page.events] == [second]


def test_a_full_filtered_page_has_read_only_as_far_as_its_last_event(own_farm: Farm) -> None:
    numbered(own_farm, 1, env="prod")
    numbered(own_farm, 1)
    numbered(own_farm, 1, env="prod")

    first = read(own_farm, by=Filter(env="prod"), limit=1)
    second = read(own_farm, by=Filter(env="prod"), limit=1, after=str(first.looked))

    assert (seqs(first), first.looked.seq, first.caught_up) == ([1], 1, False)
    assert (seqs(second), second.looked.seq, second.caught_up) == ([3], 3, True)


def test_a_filtered_read_looks_so_far_and_tells_how_far(own_farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SCAN_MOST", 2)
    numbered(own_farm, 3)
    numbered(own_farm, 1, env="prod")

    first = read(own_farm, by=Filter(env="prod"))
    second = read(own_farm, by=Filter(env="prod"), after=str(first.looked))

    assert (seqs(first), first.looked.seq, first.caught_up) == ([], 2, False)
    assert (seqs(second), second.looked.seq, second.caught_up) == ([4], 4, True)


def test_only_a_filter_that_names_something_filters() -> None:
    named = [Filter(types=["x"]), Filter(user_id=uuid.uuid4()), Filter(project_id=uuid.uuid4()), Filter(env="x")]

    assert not Filter()
    assert all(named)


FILTERS = [
    Filter(),
    Filter(types=("botfarm.lock.acquired.v1",)),
    Filter(types=("botfarm.lock.acquired.v1", "botfarm.user.created.v1")),
    Filter(types=("botfarm.lock.lost.v1",)),
    Filter(user_id=UUID(int=1)),
    Filter(project_id=UUID(int=7)),
    Filter(env="prod"),
    Filter(env="prod", project_id=UUID(int=7)),
    Filter(env="stage", project_id=UUID(int=7), types=("botfarm.user.created.v1",)),
]


@pytest.mark.parametrize("by", FILTERS, ids=str)
def test_one_event_is_judged_by_a_filter_as_the_database_judges_all(own_farm: Farm, by: Filter) -> None:
    for env in ("stage", "prod"):
        for project_id in (None, UUID(int=7), UUID(int=8)):
            own_farm.hold(own_farm.add(env=env, project_id=project_id))
    number(own_farm)
    everything = read(own_farm).events

    assert len(everything) == 12
    theirs = Filter(by.types, everything[0].user_id, by.project_id, by.env) if by.user_id else by
    assert seqs([event for event in everything if feed.matches(event, theirs)]) == seqs(read(own_farm, by=theirs))


def newer(farm: Farm, after: str, *, limit: int = 100) -> Page:
    return farm.do(lambda conn: feed.newer(conn, after=Cursor.parse(after), limit=limit))


def test_what_is_newer_is_what_follows_and_nothing_at_the_end(own_farm: Farm) -> None:
    numbered(own_farm, 4)

    pages = [newer(own_farm, "1-0", limit=3), newer(own_farm, "1-3", limit=3), newer(own_farm, "1-4", limit=3)]

    assert [seqs(page) for page in pages] == [[1, 2, 3], [4], []]
    assert [(str(page.looked), page.caught_up) for page in pages] == [("1-3", False), ("1-4", True), ("1-4", True)]


def test_what_is_newer_goes_on_across_epochs_from_a_place_that_was_kept(own_farm: Farm) -> None:
    _two_epochs(own_farm)

    assert [str(event.cursor) for event in newer(own_farm, "1-2").events] == ["1-3", "2-4", "2-5"]
    assert [str(event.cursor) for event in newer(own_farm, "1-3").events] == ["2-4", "2-5"]
    for lost in ("1-4", "1-5", "1-6", "2-6"):
        with pytest.raises(CursorUnknown):
            newer(own_farm, lost)


def test_what_is_newer_is_too_old_when_the_next_event_is_gone(own_farm: Farm) -> None:
    numbered(own_farm, 4)
    drop_oldest(own_farm, up_to=3)

    with pytest.raises(CursorTooOld):
        newer(own_farm, "1-2")


def test_latest_is_the_end_of_the_feed(own_farm: Farm) -> None:
    numbered(own_farm, 3)

    page = read(own_farm, after="latest")

    assert page == Page([], Cursor(1, 3), caught_up=True)


@pytest.mark.parametrize(
    "cursor", ["", "1", "1-", "-1", "a-b", "1-1-1", "1-01", "01-1", " 1-1", "1-1\n", "1-²", "LATEST"]
)
def test_what_is_no_cursor_is_malformed(own_farm: Farm, cursor: str) -> None:
    with pytest.raises(CursorMalformed) as raised:
        read(own_farm, after=cursor)

    assert raised.value.cursor == cursor


@pytest.mark.parametrize("cursor", ["1-4", "2-1", "0-1", "999999999-1", "1-999999999999999999"])
def test_a_cursor_of_another_history_is_unknown_and_answered_with_the_latest(own_farm: Farm, cursor: str) -> None:
    numbered(own_farm, 3)

    with pytest.raises(CursorUnknown) as raised:
        read(own_farm, after=cursor)

    assert (raised.value.cursor, raised.value.latest) == (cursor, "1-3")


def test_a_cursor_whose_next_event_is_gone_is_too_old_and_answered_with_the_oldest(own_farm: Farm) -> None:
    numbered(own_farm, 5)
    drop_oldest(own_farm, up_to=3)

    with pytest.raises(CursorTooOld) as raised:
        read(own_farm, after="1-2")

    assert (raised.value.cursor, raised.value.oldest) == ("1-2", "1-3")
    assert seqs(read(own_farm, after=raised.value.oldest)) == [4, 5]
    assert seqs(read(own_farm)) == [4, 5]


def test_when_every_event_is_gone_reading_begins_at_the_end(own_farm: Farm) -> None:
    numbered(own_farm, 3)
    drop_oldest(own_farm, up_to=3)

    assert read(own_farm) == Page([], Cursor(1, 3), caught_up=True)
    assert read(own_farm, after="1-3").caught_up
    with pytest.raises(CursorTooOld):
        read(own_farm, after="1-2")


def test_a_cursor_of_an_older_epoch_is_good_up_to_its_end(own_farm: Farm) -> None:
    _two_epochs(own_farm)

    page = read(own_farm, after="1-2")

    assert [str(event.cursor) for event in page.events] == ["1-3", "2-4", "2-5"]
    assert [str(event.cursor) for event in read(own_farm, after="1-3").events] == ["2-4", "2-5"]
    assert str(page.looked) == "2-5"


@pytest.mark.parametrize("cursor", ["1-4", "1-5", "2-1", "2-2"])
def test_a_number_under_the_wrong_epoch_is_unknown(own_farm: Farm, cursor: str) -> None:
    _two_epochs(own_farm)

    with pytest.raises(CursorUnknown):
        read(own_farm, after=cursor)


def test_the_beginning_of_an_epoch_is_a_cursor_of_it(own_farm: Farm) -> None:
    _two_epochs(own_farm)

    assert seqs(read(own_farm, after="2-3")) == [4, 5]


def test_a_page_that_stops_within_the_older_epoch_says_so_in_its_cursor(own_farm: Farm) -> None:
    _two_epochs(own_farm)

    looked = [str(read(own_farm, limit=limit).looked) for limit in (3, 4)]

    assert looked == ["1-3", "2-4"]


def _two_epochs(farm: Farm) -> None:
    """1-1, 1-2, 1-3, 2-4, 2-5."""
    numbered(farm, 5)
    farm.do(lambda conn: epochs.advance(conn, epoch=1, published_seq=3))
    farm.do(lambda conn: epochs.start(conn, epoch=2))
