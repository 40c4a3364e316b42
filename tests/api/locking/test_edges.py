"""The table "At the edges": what each verb answers to a lease in each of its states."""

import uuid
from collections.abc import Callable

import pytest

from tests.api.farms import Farm

LEASE = str(uuid.UUID(int=7, version=4))


def live(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, lease_id=LEASE)


def lapsed(farm: Farm, user_id: str) -> None:
    live(farm, user_id)
    farm.lapse(user_id)


def released(farm: Farm, user_id: str) -> None:
    live(farm, user_id)
    farm.release(user_id, lease_id=LEASE)


def forced(farm: Farm, user_id: str) -> None:
    live(farm, user_id)
    farm.release(user_id, force=True, reason="maintenance")


def taken_over(farm: Farm, user_id: str) -> None:
    lapsed(farm, user_id)
    farm.acquire(user_id, owner="the next")


def free(_farm: Farm, _user_id: str) -> None:
    """Nobody ever held it."""


def held(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id, owner="the next")


TABLE: list[tuple[str, Callable[[Farm, str], None], int, str | None]] = [
    ("acquire", live, 200, None),
    ("acquire", lapsed, 409, "expired"),
    ("acquire", released, 409, "released"),
    ("acquire", forced, 409, "forced"),
    ("acquire", taken_over, 409, "expired"),
    ("acquire", free, 200, None),
    ("acquire", held, 409, "lock-held"),
    ("renew", live, 200, None),
    ("renew", lapsed, 409, "expired"),
    ("renew", released, 409, "released"),
    ("renew", forced, 409, "forced"),
    ("renew", taken_over, 409, "expired"),
    ("renew", free, 409, "unknown"),
    ("renew", held, 409, "unknown"),
    ("release", live, 200, None),
    ("release", lapsed, 409, "expired"),
    ("release", released, 200, None),
    ("release", forced, 409, "forced"),
    ("release", taken_over, 409, "expired"),
    ("release", free, 409, "unknown"),
    ("release", held, 409, "unknown"),
]
NAMES = [f"{verb}-{state.__name__}" for verb, state, _, _ in TABLE]
WRITES = {("acquire", live): 0, ("acquire", free): 1, ("renew", live): 1, ("release", live): 1}


@pytest.mark.parametrize(("verb", "state", "status", "reason"), TABLE, ids=NAMES)
def test_each_verb_answers_a_lease_by_its_state(
    farm: Farm, user_id: str, verb: str, state: Callable[[Farm, str], None], status: int, reason: str | None
) -> None:
    state(farm, user_id)

    answer = getattr(farm, verb)(user_id, lease_id=LEASE)

    assert answer.status_code == status
    if reason == "lock-held":
        assert answer.json()["type"] == "urn:botfarm:problem:lock-held"
    elif reason is not None:
        assert answer.json()["type"] == "urn:botfarm:problem:lease-lost"
        assert answer.json()["reason"] == reason
        assert (answer.json()["ended_at"] is None) == (reason == "unknown")
        assert answer.json()["owner"] == ("the next" if state in {taken_over, held} else None)


@pytest.mark.parametrize(("verb", "state"), [row[:2] for row in TABLE], ids=NAMES)
def test_only_a_change_writes_an_event(farm: Farm, user_id: str, verb: str, state: Callable[[Farm, str], None]) -> None:
    state(farm, user_id)
    before = len(farm.changes(user_id))

    getattr(farm, verb)(user_id, lease_id=LEASE)

    assert len(farm.changes(user_id)) - before == WRITES.get((verb, state), 0)


@pytest.mark.parametrize("verb", ["acquire", "renew", "release"])
def test_a_lease_before_the_last_is_no_longer_remembered(farm: Farm, user_id: str, verb: str) -> None:
    released(farm, user_id)
    farm.acquire(user_id)
    farm.release(user_id)

    answer = getattr(farm, verb)(user_id, lease_id=LEASE)

    expected = (200, None) if verb == "acquire" else (409, "unknown")
    assert (answer.status_code, answer.json().get("reason")) == expected
