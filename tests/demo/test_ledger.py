"""The ledger finds nothing in a true story, and whatever is wrong in a false one."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from demo import ledger
from demo.events import Event
from demo.ledger import Books, Findings
from tests.demo.stories import ADA, ALICE, BOB, EVE, Story, true_story, without

CLEAN = Findings()
SIDES = ["stream", "feed"]


def event_of(books: Books, kind: str) -> Event:
    """The last of its kind."""
    return next(event for event in reversed(books.stream) if event.kind == kind)


def retold(books: Books, side: str, events: Sequence[Event]) -> Books:
    return replace(books, stream=events) if side == "stream" else replace(books, feed=events)


def numbered_on(books: Books, told: Event) -> Event:
    """The event as the next one of the stream."""
    return replace(told, cursor=f"1-{len(books.stream) + 1}")


def test_nothing_is_found_in_a_true_story() -> None:
    assert ledger.check(true_story().books()) == CLEAN


def test_nothing_is_found_where_nothing_happened() -> None:
    assert ledger.check(Books([], [], [])) == CLEAN


@pytest.mark.parametrize("feed_too", [True, False])
@pytest.mark.parametrize("kind", ["created", "acquired", "renewed", "released"])
def test_a_change_without_its_event_is_lost(kind: str, feed_too: bool) -> None:  # noqa: FBT001  -- a parameter
    books = true_story().books()

    found = ledger.check(without(books, event_of(books, kind), feed_too=feed_too))

    assert found.lost


def test_an_event_that_is_missing_from_the_feed_alone_is_lost() -> None:
    books = true_story().books()

    found = ledger.check(replace(books, feed=books.feed[:-1]))

    assert found == replace(CLEAN, lost=["event 1-11 is on the stream only"])


def test_an_event_of_another_place_on_stream_and_feed_is_found() -> None:
    books = true_story().books()
    last = books.feed[-1]

    found = ledger.check(replace(books, feed=[*books.feed[:-1], replace(last, cursor="1-12")]))

    assert "event event-11 is 1-11 on the stream and 1-12 on the feed" in found.lost


@pytest.mark.parametrize("lie", [{"kind": "renewed"}, {"owner": BOB}, {"token": 99}])
def test_an_event_that_tells_something_else_counts_as_lost(lie: dict[str, str]) -> None:
    books = true_story().books()
    events = [*books.stream[:-1], replace(books.stream[-1], **lie)]  # type: ignore[arg-type]

    found = ledger.check(replace(books, stream=events, feed=events))

    assert found.lost


@pytest.mark.parametrize("side", SIDES)
def test_an_event_published_twice_is_found(side: str) -> None:
    books = true_story().books()

    found = ledger.check(retold(books, side, [*books.stream, numbered_on(books, books.stream[3])]))

    assert found.duplicated


@pytest.mark.parametrize("side", SIDES)
def test_the_same_entry_twice_is_found(side: str) -> None:
    books = true_story().books()

    found = ledger.check(retold(books, side, [*books.stream, books.stream[-1]]))

    assert found.duplicated
    assert found.disordered


def test_two_events_with_one_version_of_a_user_are_found() -> None:
    books = true_story().books()
    events = [*books.stream, replace(numbered_on(books, books.stream[-1]), id="another")]

    found = ledger.check(replace(books, stream=events, feed=events))

    assert any("version" in finding for finding in found.duplicated)


@pytest.mark.parametrize("side", SIDES)
def test_events_out_of_order_are_found(side: str) -> None:
    books = true_story().books()
    first, second, *others = books.stream

    found = ledger.check(retold(books, side, [second, first, *others]))

    assert found.disordered


@pytest.mark.parametrize("place", [0, 4])
def test_a_hole_in_the_numbers_is_found(place: int) -> None:
    books = true_story().books()

    found = ledger.check(without(books, books.stream[place]))

    assert found.disordered


def test_versions_of_a_user_out_of_order_are_found() -> None:
    books = true_story().books()
    events = [replace(event, version=9) if event is books.stream[4] else event for event in books.stream]

    found = ledger.check(replace(books, stream=events, feed=events))

    assert any("version 9" in finding for finding in found.disordered)


def test_a_grant_amid_another_lease_is_found_by_the_events() -> None:
    story = Story()
    story.create(ADA)
    story.acquire(ALICE, ADA)
    story.wait(1)
    story.acquire(BOB, ADA)

    found = ledger.check(replace(story.books(), entries=[]))

    assert any("while token 2 held it" in finding for finding in found.held_twice)


def test_an_expiry_before_its_time_is_found_by_the_events() -> None:
    story = Story()
    story.create(ADA)
    story.acquire(ALICE, ADA)
    story.wait(1)
    story.expire(ADA)
    story.acquire(BOB, ADA)

    found = ledger.check(replace(story.books(), entries=[]))

    assert any("before the last lease had lapsed" in finding for finding in found.held_twice)


@pytest.mark.parametrize("verb", [Story.renew, Story.release])
def test_a_change_to_a_lease_that_is_over_is_found_by_the_events(verb: object) -> None:
    story = Story()
    story.create(ADA)
    story.acquire(ALICE, ADA)
    story.wait(3)
    story.expire(ADA)
    verb(story, ADA)  # type: ignore[operator]

    assert ledger.check(story.books()).held_twice


def test_a_grant_amid_another_lease_is_found_by_the_journals_alone() -> None:
    story = Story()
    story.acquire(ALICE, ADA)
    story.wait(1)
    story.acquire(BOB, ADA)

    found = ledger.check(Books(story.entries, [], []))

    assert len(found.held_twice) == 1


def test_leases_that_follow_each_other_do_not_overlap() -> None:
    story = Story()
    story.acquire(ALICE, ADA)
    story.wait(1)
    story.release(ADA)
    story.acquire(BOB, ADA)
    story.wait(2.1)
    story.acquire(ALICE, ADA)

    assert not ledger.check(Books(story.entries, [], [])).held_twice


def test_a_renewed_lease_is_in_hand_until_its_new_end() -> None:
    story = Story()
    story.acquire(ALICE, ADA)
    story.wait(1.5)
    story.renew(ADA)
    story.wait(1)
    story.acquire(BOB, ADA)

    assert ledger.check(Books(story.entries, [], [])).held_twice


def test_a_killed_client_s_lease_that_never_expires_is_found() -> None:
    story = Story(killed={BOB})
    story.create(EVE)
    story.acquire(BOB, EVE)

    found = ledger.check(story.books())

    assert found == replace(CLEAN, unexpired=[f"bob's lease of user {EVE}, token 2 never expired"])


def test_a_lease_given_back_too_late_must_expire_too() -> None:
    story = Story()
    story.create(EVE)
    story.acquire(BOB, EVE)
    story.wait(3)
    late = replace(story.entries[-1], call="release", outcome="lapsed", sent=story.now, answered=story.now)
    story.entries.append(late)

    before = ledger.check(story.books())
    story.expire(EVE)
    after = ledger.check(story.books())

    assert before.unexpired
    assert after == CLEAN


def test_a_living_client_s_open_lease_need_not_expire() -> None:
    story = Story()
    story.create(ADA)
    story.acquire(ALICE, ADA)

    assert ledger.check(story.books()) == CLEAN


@pytest.mark.parametrize("kind", ["acquired", "renewed", "released"])
def test_a_change_without_an_event_is_found(kind: str) -> None:
    books = true_story().books()
    last = event_of(books, kind)
    entries = [entry for entry in books.entries if (entry.user, entry.version) != (last.user, last.version)]

    assert ledger.check(replace(books, entries=entries)).unaccounted


def test_changes_of_others_are_their_own_affair() -> None:
    story = true_story()
    entries = list(story.entries)
    story.acquire("somebody else", ADA)
    story.release(ADA)

    assert ledger.check(replace(story.books(), entries=entries)) == CLEAN


def test_an_unexpected_answer_is_found() -> None:
    story = true_story()
    story.entries.append(replace(story.entries[0], outcome="error", detail="500 internal"))

    found = ledger.check(story.books())

    assert found == replace(CLEAN, errors=[f"alice, acquire of user {ADA}: 500 internal"])
    assert found
