"""One user's events, newest first."""

import pytest

from tests.api.events.cloudevents import faults
from tests.api.events.test_feed import LIFE, a_whole_life, types
from tests.api.farms import NOBODY, USERS, Farm, next_of


def test_a_history_is_newest_first_and_holds_nobody_else(farm: Farm) -> None:
    user_id = a_whole_life(farm)
    a_whole_life(farm)

    answer = farm.client.get(f"{USERS}/{user_id}/events")

    assert types(answer) == LIFE[::-1]
    assert {event["subject"] for event in answer.json()} == {f"users/{user_id}"}
    assert [faults(event) for event in answer.json()] == [[]] * len(LIFE)


@pytest.mark.parametrize("limit", [1, 3, 4, 8, 9])
def test_the_pages_hold_every_event_once(farm: Farm, limit: int) -> None:
    user_id = a_whole_life(farm)
    a_whole_life(farm)

    pages = [farm.client.get(f"{USERS}/{user_id}/events", params={"limit": limit})]
    while following := next_of(pages[-1]):
        pages.append(farm.client.get(following))

    assert [kind for page in pages for kind in types(page)] == LIFE[::-1]


def test_after_is_a_cursor_and_older_events_follow(farm: Farm) -> None:
    user_id = a_whole_life(farm)
    third = farm.client.get(f"{USERS}/{user_id}/events").json()[2]

    older = farm.client.get(f"{USERS}/{user_id}/events", params={"after": third["cursor"]})

    assert types(older) == LIFE[::-1][3:]


def test_a_user_nobody_knows_has_no_history(farm: Farm) -> None:
    answer = farm.client.get(f"{USERS}/{NOBODY}/events")

    assert (answer.status_code, answer.json()) == (200, [])


def test_a_malformed_cursor_is_a_bad_request(farm: Farm, user_id: str) -> None:
    answer = farm.client.get(f"{USERS}/{user_id}/events", params={"after": "yesterday"})

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:botfarm:problem:cursor-malformed"


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_a_limit_is_1_to_1000(farm: Farm, user_id: str, limit: str) -> None:
    assert farm.client.get(f"{USERS}/{user_id}/events", params={"limit": limit}).status_code == 422


@pytest.mark.parametrize(
    ("at", "status"),
    [
        ("2026-11-24T10:00:00+23:59", 200),  # beyond what Postgres takes as an offset
        ("2026-11-24T10:00:00-23:59", 200),
        ("0001-01-01T00:00:00Z", 200),
        ("9999-12-31T23:59:59Z", 200),
        ("0001-01-01T00:00:00+00:01", 422),  # in the year 0
        ("9999-12-31T23:59:59-00:01", 422),
    ],
)
def test_a_moment_may_have_any_offset_and_lies_within_the_calendar(
    farm: Farm, user_id: str, at: str, status: int
) -> None:
    answer = farm.client.get(f"{USERS}/{user_id}/events", params={"at": at})

    assert answer.status_code == status
