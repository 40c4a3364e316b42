"""The feed of events over HTTP, as the relay has numbered them."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from domain.configuration.settings import Settings
from domain.events import feed
from tests import patience
from tests.api.events.cloudevents import faults
from tests.api.farms import EVENTS, USERS, Farm, farming, next_of


def read(farm: Farm, **query: Any) -> httpx.Response:
    answer = farm.client.get(EVENTS, params=query)
    assert answer.status_code == 200, answer.text
    return answer


def types(answer: httpx.Response) -> list[str]:
    return [event["type"].removeprefix("botfarm.").removesuffix(".v1") for event in answer.json()]


def a_whole_life(farm: Farm, **fields: Any) -> str:
    """A user with one event of every kind that exists so far, all of them numbered."""
    user_id = str(farm.new_user(password="s3cret", **fields)["id"])
    lease_id = farm.acquire(user_id, owner="ci-4711", metadata={"job": "17"}).json()["lease_id"]
    farm.renew(user_id, lease_id=lease_id)
    farm.release(user_id, lease_id=lease_id)
    farm.acquire(user_id)
    farm.lapse(user_id)
    farm.acquire(user_id)
    farm.release(user_id, force=True, reason="maintenance")
    farm.publish()
    return user_id


LIFE = [
    "user.created",
    "lock.acquired",
    "lock.renewed",
    "lock.released",
    "lock.acquired",
    "lock.expired",
    "lock.acquired",
    "lock.released",
]


@pytest.fixture(scope="module")
def lived(fresh_settings: Callable[[], Settings]) -> Iterator[Farm]:
    """A farm that has seen one whole life, for tests that only read."""
    with farming(fresh_settings()) as farm:
        a_whole_life(farm, project_id=str(uuid.uuid4()), labels={"a": "b"})
        yield farm


def test_every_event_has_the_promised_form(lived: Farm) -> None:
    (user,) = lived.client.get(f"{USERS}/").json()

    answer = read(lived)

    assert answer.headers["Content-Type"] == "application/cloudevents-batch+json"
    assert types(answer) == LIFE
    assert [faults(event) for event in answer.json()] == [[]] * len(LIFE)
    assert [event["lockversion"] for event in answer.json()] == list(range(1, len(LIFE) + 1))
    assert {event["data"]["user_id"] for event in answer.json()} == {user["id"]}
    assert [event["data"]["reason"] for event in answer.json() if "released" in event["type"]] == ["holder", "forced"]
    assert [event["cursor"] for event in answer.json()] == [f"1-{n}" for n in range(1, len(LIFE) + 1)]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"specversion": "0.3"},
        {"id": "1"},
        {"sequence": "42"},
        {"time": "2026-01-01T00:00:00Z"},
        {"cursor": "1-99"},
        {"subject": f"users/{uuid.UUID(int=1)}"},
        {"lease_id": "a secret"},
        {"data": {}},
    ],
    ids=str,
)
def test_an_event_of_another_form_would_be_found(farm: Farm, user_id: str, spoilt: dict[str, Any]) -> None:
    farm.publish()
    event = farm.client.get(f"/api/v1/users/{user_id}/events").json()[0]

    assert faults(event) == []
    assert faults({**event, **spoilt}) != []


def test_a_farm_that_wrote_an_event_of_another_form_fails_at_its_end(settings: Settings) -> None:
    with pytest.raises(AssertionError, match=r"1-1 botfarm.user.created.v1: 'login' is a required property"):
        _a_farm_with_an_event_without_login(settings)


def _a_farm_with_an_event_without_login(settings: Settings) -> None:
    with farming(settings) as farm:
        farm.new_user()
        farm.execute("UPDATE outbox SET data = data - 'login'")


def test_no_event_holds_a_password_or_a_lease(served: Farm) -> None:
    user_id = str(served.new_user(password="s3cret")["id"])
    lease_id = served.acquire(user_id).json()["lease_id"]
    served.publish()

    body = read(served).text

    assert user_id in body
    assert "s3cret" not in body
    assert lease_id not in body


def test_an_event_without_a_number_is_not_shown(served: Farm) -> None:
    served.new_user()

    before = read(served)
    served.publish()

    assert (before.json(), before.headers["X-Cursor"]) == ([], "1-0")
    assert types(read(served, after="1-0")) == ["user.created"]


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 100])
def test_the_links_lead_through_all_events_once(lived: Farm, limit: int) -> None:
    pages = [read(lived, limit=limit)]
    while pages[-1].json():
        pages.append(lived.client.get(next_of(pages[-1]) or ""))

    assert [kind for page in pages for kind in types(page)] == LIFE
    assert all(len(page.json()) <= limit for page in pages)
    assert pages[-1].headers["X-Cursor"] == f"1-{len(LIFE)}"


def test_after_is_where_reading_goes_on(lived: Farm) -> None:
    assert types(read(lived, after="1-5")) == LIFE[5:]
    assert types(read(lived, after=f"1-{len(LIFE)}")) == []


def test_caught_up_says_whether_there_is_more(lived: Farm) -> None:
    caught_up = {limit: read(lived, limit=limit).headers["X-Caught-Up"] for limit in (1, len(LIFE) - 1, len(LIFE), 100)}

    assert caught_up == {1: "false", len(LIFE) - 1: "false", len(LIFE): "true", 100: "true"}


def test_the_cursor_moves_on_where_nothing_matches(lived: Farm) -> None:
    answer = read(lived, type="botfarm.user.deleted.v1")

    assert answer.json() == []
    assert answer.headers["X-Cursor"] == f"1-{len(LIFE)}"
    assert answer.headers["X-Caught-Up"] == "true"


def test_a_filtered_look_goes_only_so_far_and_says_where(lived: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SCAN_MOST", 3)
    pages = [read(lived, type="botfarm.lock.expired.v1")]
    while pages[-1].headers["X-Caught-Up"] == "false":
        pages.append(lived.client.get(next_of(pages[-1]) or ""))

    assert [page.headers["X-Cursor"] for page in pages] == ["1-3", "1-6", f"1-{len(LIFE)}"]
    assert [types(page) for page in pages] == [[], ["lock.expired"], []]


def test_latest_is_from_now_on(served: Farm) -> None:
    a_whole_life(served)

    latest = read(served, after="latest")
    served.new_user()
    served.publish()

    assert (latest.json(), latest.headers["X-Cursor"]) == ([], f"1-{len(LIFE)}")
    assert types(served.client.get(next_of(latest) or "")) == ["user.created"]


def test_filters_let_through_what_matches_them_all(served: Farm) -> None:
    project_id = str(uuid.uuid4())
    one = a_whole_life(served, project_id=project_id)
    other = a_whole_life(served, env="prod")

    released = "botfarm.lock.released.v1"
    assert types(read(served, type=released)) == ["lock.released"] * 4
    assert types(read(served, type=[released, "botfarm.user.created.v1"], user_id=one)) == [LIFE[0], LIFE[3], LIFE[7]]
    assert {event["subject"] for event in read(served, user_id=one).json()} == {f"users/{one}"}
    assert {event["subject"] for event in read(served, project_id=project_id).json()} == {f"users/{one}"}
    assert {event["subject"] for event in read(served, env="prod").json()} == {f"users/{other}"}
    assert read(served, env="prod", project_id=project_id).json() == []


def test_the_links_keep_the_filter(served: Farm) -> None:
    for _ in range(2):
        a_whole_life(served)

    first = read(served, type=["botfarm.lock.renewed.v1", "botfarm.lock.expired.v1"], limit=2)
    second = served.client.get(next_of(first) or "")

    assert types(first) == types(second) == ["lock.renewed", "lock.expired"]
    assert first.json() != second.json()


def test_a_long_poll_wakes_when_something_comes(served: Farm) -> None:
    def come() -> None:
        served.new_user()
        served.publish()

    comes = threading.Timer(0.4, come)
    started = time.monotonic()
    comes.start()

    answer = read(served, after="latest", wait_seconds=20)

    comes.join()
    assert types(answer) == ["user.created"]
    assert 0.3 < time.monotonic() - started < patience.limit(20)


def test_a_long_poll_waits_through_what_does_not_match(served: Farm) -> None:
    def come() -> None:
        user_id = served.new_user()["id"]
        served.publish()
        time.sleep(0.3)
        served.acquire(user_id)
        served.publish()

    comes = threading.Thread(target=come)
    comes.start()

    answer = read(served, wait_seconds=20, type="botfarm.lock.acquired.v1")

    comes.join()
    assert types(answer) == ["lock.acquired"]


def test_a_long_poll_ends_with_nothing_when_nothing_comes(served: Farm) -> None:
    started = time.monotonic()

    answer = read(served, wait_seconds=1)

    assert answer.json() == []
    assert answer.headers["X-Caught-Up"] == "true"
    assert 1 <= time.monotonic() - started < patience.limit(5)


def test_a_cursor_older_than_what_is_kept_is_gone(served: Farm) -> None:
    a_whole_life(served)
    served.execute("DELETE FROM events WHERE seq <= 3")

    answer = served.client.get(EVENTS, params={"after": "1-1"})

    assert answer.status_code == 410
    assert answer.json()["type"] == "urn:botfarm:problem:cursor-too-old"
    assert types(read(served, after=answer.json()["oldest"])) == types(read(served)) == LIFE[3:]


@pytest.mark.parametrize("after", ["1-9999", "2-1", "9-0"])
def test_a_cursor_of_another_history_is_a_conflict(lived: Farm, after: str) -> None:
    answer = lived.client.get(EVENTS, params={"after": after})

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:botfarm:problem:cursor-unknown"
    assert answer.json()["latest"] == f"1-{len(LIFE)}"


@pytest.mark.parametrize(
    "after", ["", "1", "-", "1-", "a-b", "1-1-1", "01-1", "1-01", " 1-1", "+1-1", "Latest", "1-1\0"]
)
def test_a_malformed_cursor_is_a_bad_request(farm: Farm, after: str) -> None:
    answer = farm.client.get(EVENTS, params={"after": after})

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:botfarm:problem:cursor-malformed"


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1_001},
        {"wait_seconds": -1},
        {"wait_seconds": 61},
        {"wait_seconds": "0.5"},
        {"user_id": "x"},
        {"project_id": "none"},
        {"env": "PROD"},
        {"type": "a\0"},
        {"type": "t" * 101},
    ],
    ids=lambda query: str(query)[:30],
)
def test_a_malformed_question_is_invalid(farm: Farm, query: dict[str, Any]) -> None:
    assert farm.client.get(EVENTS, params=query).status_code == 422
