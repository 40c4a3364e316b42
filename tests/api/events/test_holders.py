"""Who held a user at a moment: `GET /users/{id}/events?at=…`."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.events.cloudevents import faults
from tests.api.farms import NOBODY, USERS, Farm

MICROSECOND = timedelta(microseconds=1)


def ask(farm: Farm, user_id: str, at: str) -> httpx.Response:
    return farm.client.get(f"{USERS}/{user_id}/events", params={"at": at})


def holding(farm: Farm, user_id: str, at: datetime) -> dict[str, Any] | None:
    """The one event of the answer; None when nobody held the user."""
    answer = ask(farm, user_id, at.isoformat())
    assert answer.status_code == 200, answer.text
    assert len(answer.json()) <= 1
    return answer.json()[0] if answer.json() else None


def owner(farm: Farm, user_id: str, at: datetime) -> str | None:
    event = holding(farm, user_id, at)
    return None if event is None else event["data"]["owner"]


def moments(farm: Farm, user_id: str) -> list[datetime]:
    """When each change of the user was made, in order, once all of them are numbered."""
    farm.publish()
    events = farm.client.get(f"{USERS}/{user_id}/events").json()
    return [datetime.fromisoformat(event["time"]) for event in reversed(events)]


def test_each_moment_has_its_holder(farm: Farm, user_id: str) -> None:
    for name in ("first", "second"):
        lease_id = farm.acquire(user_id, owner=name).json()["lease_id"]
        farm.release(user_id, lease_id=lease_id)

    created, taken, freed, taken_again, freed_again = moments(farm, user_id)

    assert owner(farm, user_id, created) is None
    assert owner(farm, user_id, taken - MICROSECOND) is None
    assert owner(farm, user_id, taken) == "first"
    assert owner(farm, user_id, freed - MICROSECOND) == "first"
    assert owner(farm, user_id, freed) is None
    assert owner(farm, user_id, taken_again - MICROSECOND) is None
    assert owner(farm, user_id, freed_again - MICROSECOND) == "second"
    assert owner(farm, user_id, freed_again) is None


def test_the_answer_is_the_grant_as_an_event(farm: Farm, user_id: str) -> None:
    token = farm.acquire(user_id, owner="ci-4711").json()["lock"]["token"]
    *_, taken = moments(farm, user_id)

    event = holding(farm, user_id, taken)

    assert event is not None
    assert faults(event) == []
    assert (event["type"], event["data"]["token"]) == ("botfarm.lock.acquired.v1", token)


def test_a_renewal_moves_the_end_of_its_own_time_only(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id, ttl_seconds=10).json()["lease_id"]
    farm.renew(user_id, lease_id=lease_id, ttl_seconds=900)
    _, taken, renewed = moments(farm, user_id)

    before, after = holding(farm, user_id, renewed - MICROSECOND), holding(farm, user_id, renewed)

    assert before is not None
    assert after is not None
    assert (before["type"], after["type"]) == ("botfarm.lock.acquired.v1", "botfarm.lock.renewed.v1")
    assert before["data"]["token"] == after["data"]["token"]
    assert datetime.fromisoformat(before["data"]["expires_at"]) == taken + timedelta(seconds=10)


def test_a_change_of_the_user_does_not_hide_its_holder(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, owner="ci-4711")
    farm.change(user_id, status="quarantined", status_reason="looks ill")
    *_, changed = moments(farm, user_id)

    assert owner(farm, user_id, changed) == "ci-4711"


def _backdate(farm: Farm, user_id: str, *, seconds: int) -> None:
    """Let all that has happened so far have happened so much earlier, its lock included."""
    farm.publish()
    farm.execute(
        """UPDATE events SET occurred_at = occurred_at - make_interval(secs => :seconds),
           data = CASE WHEN data ? 'expires_at' THEN data || jsonb_build_object('expires_at',
               to_char((data->>'expires_at')::timestamptz AT TIME ZONE 'UTC' - make_interval(secs => :seconds),
                   'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) ELSE data END
           WHERE user_id = :user_id""",
        user_id=user_id,
        seconds=seconds,
    )
    farm.execute(
        """UPDATE users SET locktime = locktime - make_interval(secs => :seconds),
           lock_expires_at = lock_expires_at - make_interval(secs => :seconds),
           available_at = available_at - make_interval(secs => :seconds) WHERE id = :user_id""",
        user_id=user_id,
        seconds=seconds,
    )


@pytest.mark.parametrize("noted", [True, False], ids=["noted later", "not noted yet"])
def test_a_lapsed_lease_held_the_user_until_its_end_and_not_until_that_was_noted(
    farm: Farm, user_id: str, *, noted: bool
) -> None:
    farm.acquire(user_id, owner="dead", ttl_seconds=60)
    _backdate(farm, user_id, seconds=600)
    if noted:
        farm.acquire(user_id, owner="next")
    _, taken, *later = moments(farm, user_id)
    end = taken + timedelta(seconds=60)

    assert owner(farm, user_id, end - MICROSECOND) == "dead"
    assert owner(farm, user_id, end) is None
    assert owner(farm, user_id, end + timedelta(seconds=300)) is None
    if noted:
        assert owner(farm, user_id, later[-1]) == "next"


def test_a_moment_to_come_is_answered_as_of_now(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, owner="ci-4711", ttl_seconds=60)
    farm.publish()

    assert owner(farm, user_id, datetime.now(UTC) + timedelta(days=365)) == "ci-4711"
    _backdate(farm, user_id, seconds=600)
    assert owner(farm, user_id, datetime.now(UTC) + timedelta(days=365)) is None


def test_a_deleted_user_has_its_history_still(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, owner="ci-4711")
    assert farm.delete(user_id, force="true", reason="gone").status_code == 204
    _, taken, freed, deleted = moments(farm, user_id)

    assert farm.client.get(f"{USERS}/{user_id}").status_code == 404
    assert owner(farm, user_id, taken) == "ci-4711"
    assert owner(farm, user_id, freed) is None
    assert owner(farm, user_id, deleted) is None


def test_before_the_user_existed_nobody_held_it(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id)
    created, *_ = moments(farm, user_id)

    assert holding(farm, user_id, created - timedelta(days=3)) is None


def test_nobody_holds_a_user_that_nobody_knows(farm: Farm) -> None:
    assert holding(farm, NOBODY, datetime.now(UTC)) is None


def test_any_offset_names_the_same_moment(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, owner="ci-4711")
    *_, taken = moments(farm, user_id)
    elsewhere = (taken + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%dT%H:%M:%S.%f+05:30")

    (event,) = ask(farm, user_id, elsewhere).json()

    assert event["data"]["owner"] == "ci-4711"


@pytest.mark.parametrize(
    "malformed",
    [
        "yesterday",
        "2026-11-24",
        "2026-11-24T10:00:00",
        "2026-11-24 10:00:00Z",
        "2026-13-24T10:00:00Z",
        "2026-11-24T10:00:00 05:30",
        "1764000000",
        "",
        "\uff12026-11-24T10:00:00Z",
        "2026-11-24T10:00:00Z\n",
    ],
)
def test_what_is_no_moment_is_refused(farm: Farm, user_id: str, malformed: str) -> None:
    answer = ask(farm, user_id, malformed)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][-1] == "at"


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_the_ends_of_time_are_moments_too(farm: Farm, user_id: str, moment: str) -> None:
    farm.publish()

    assert ask(farm, user_id, moment).json() == []


def test_a_moment_has_no_pages(farm: Farm, user_id: str) -> None:
    query = {"at": "2026-11-24T10:00:00Z", "after": "1-5"}

    assert farm.client.get(f"{USERS}/{user_id}/events", params=query).status_code == 422


def test_what_is_no_longer_kept_is_not_guessed(served: Farm) -> None:
    user_id, idle = served.new_user()["id"], served.new_user()["id"]
    served.acquire(user_id, owner="first")
    served.release(user_id)
    created, _, freed = moments(served, user_id)
    served.execute("DELETE FROM events WHERE lock_version <= 2")  # as retention does with whole partitions

    answer = ask(served, user_id, (freed - MICROSECOND).isoformat())

    assert answer.status_code == 410
    assert answer.json()["type"] == "urn:botfarm:problem:history-too-old"
    assert datetime.fromisoformat(answer.json()["since"]) == freed
    assert holding(served, user_id, freed) is None
    assert ask(served, idle, created.isoformat()).status_code == 410
    assert holding(served, idle, freed) is None
    assert holding(served, str(uuid.uuid4()), freed) is None
