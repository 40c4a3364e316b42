"""Renewing a lease over HTTP."""

import uuid
from datetime import datetime, timedelta

import pytest

from domain.configuration.settings import Settings
from tests.api.farms import NOBODY, Farm, farming
from tests.api.routes.test_users import FIELDS


def test_the_expiry_is_set_and_never_added_to(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id, ttl_seconds=600).json()["lease_id"]

    longer = farm.renew(user_id, lease_id=lease_id, ttl_seconds=700).json()
    shorter = farm.renew(user_id, lease_id=lease_id, ttl_seconds=60).json()

    for renewed, ttl_seconds in ((longer, 700), (shorter, 60)):
        expires_at, server_time = (
            datetime.fromisoformat(moment) for moment in (renewed["lock"]["expires_at"], renewed["server_time"])
        )
        assert expires_at - server_time == timedelta(seconds=ttl_seconds)


def test_without_a_ttl_the_default_counts_again(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id, ttl_seconds=10).json()["lease_id"]

    assert farm.renew(user_id, lease_id=lease_id).json()["lock"]["ttl_seconds"] == 900


def test_the_answer_is_that_of_acquire_without_the_password(farm: Farm, user_id: str) -> None:
    granted = farm.acquire(user_id, owner="ci-4711", metadata={"a": "b"}).json()

    answer = farm.renew(user_id, lease_id=granted["lease_id"])

    renewed = answer.json()
    assert set(renewed) == FIELDS | {"lease_id", "server_time"}
    assert "s3cret" not in answer.text
    assert renewed["lease_id"] == granted["lease_id"]
    kept = ("owner", "token", "acquired_at", "metadata")
    assert {name: renewed["lock"][name] for name in kept} == {name: granted["lock"][name] for name in kept}


def test_a_renewal_is_one_event(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id).json()["lease_id"]

    farm.renew(user_id, lease_id=lease_id)

    assert farm.changes(user_id) == ["user.created", "lock.acquired", "lock.renewed"]


def test_a_quarantined_user_keeps_its_lock_and_may_be_renewed(farm: Farm, user_id: str) -> None:
    lease_id = farm.acquire(user_id).json()["lease_id"]
    farm.execute("UPDATE users SET status = 'quarantined' WHERE id = :id", id=user_id)

    assert farm.renew(user_id, lease_id=lease_id).status_code == 200


def test_a_lease_cannot_outlive_its_longest_life(settings: Settings) -> None:
    with farming(settings.model_copy(update={"lock_lifetime_max_seconds": 100})) as farm:
        user_id = farm.new_user()["id"]
        granted = farm.acquire(user_id, ttl_seconds=60).json()

        within = farm.renew(user_id, lease_id=granted["lease_id"], ttl_seconds=50)
        beyond = farm.renew(user_id, lease_id=granted["lease_id"], ttl_seconds=101)

        assert within.status_code == 200
        assert beyond.status_code == 409
        assert beyond.json()["type"] == "urn:botfarm:problem:lifetime-exceeded"
        assert beyond.json()["expires_at"] == within.json()["lock"]["expires_at"]


@pytest.mark.parametrize("body", [{}, {"ttl_seconds": 60}, {"lease_id": None}, {"lease_id": "no-uuid"}], ids=str)
def test_a_renewal_names_its_lease(farm: Farm, user_id: str, body: dict[str, object]) -> None:
    farm.acquire(user_id)

    answer = farm.renew(user_id, **body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "lease_id"]


def test_an_unknown_user_is_not_found(farm: Farm) -> None:
    assert farm.renew(NOBODY, lease_id=str(uuid.uuid4())).status_code == 404
