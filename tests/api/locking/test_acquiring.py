"""Taking a lock over HTTP."""

import uuid
from typing import Any

from domain.configuration.settings import Settings
from tests.api.farms import Farm, farming
from tests.api.routes.test_users import FIELDS


def test_the_answer_is_the_user_with_lease_password_and_server_time(farm: Farm, user_id: str) -> None:
    answer = farm.acquire(user_id, owner="ci-4711", ttl_seconds=60, metadata={"job": "17"})

    granted = answer.json()
    assert answer.status_code == 200
    assert set(granted) == FIELDS | {"lease_id", "password", "server_time"}
    assert granted["password"] == "s3cret"
    assert granted["server_time"] == granted["locktime"] == granted["lock"]["acquired_at"]
    assert granted["lock"]["ttl_seconds"] == 60
    assert granted["lock"]["owner"] == "ci-4711"
    assert granted["lock"]["metadata"] == {"job": "17"}


def test_no_cache_may_keep_the_answer(farm: Farm, user_id: str) -> None:
    assert farm.acquire(user_id).headers["Cache-Control"] == "no-store"


def test_the_lease_is_a_uuid_the_server_makes_unless_the_caller_chose_one(farm: Farm, user_id: str) -> None:
    chosen = str(uuid.uuid4())

    made = farm.acquire(user_id).json()["lease_id"]
    farm.release(user_id)
    taken_over = farm.acquire(user_id, lease_id=chosen).json()["lease_id"]

    assert uuid.UUID(made).version == 4
    assert taken_over == chosen


def test_the_fencing_token_grows_with_every_grant(farm: Farm, user_id: str) -> None:
    tokens = []
    for _ in range(3):
        tokens.append(farm.acquire(user_id).json()["lock"]["token"])
        farm.release(user_id)

    assert tokens == sorted(set(tokens))


def test_asking_again_with_the_same_lease_is_answered_alike(farm: Farm, user_id: str) -> None:
    lease_id = str(uuid.uuid4())

    first, second = (farm.acquire(user_id, lease_id=lease_id, ttl_seconds=60).json() for _ in range(2))

    assert set(first) == set(second)
    changing = {"server_time", "lock"}
    assert {name: first[name] for name in FIELDS - changing} == {name: second[name] for name in FIELDS - changing}
    assert {**first["lock"], "ttl_seconds": 0} == {**second["lock"], "ttl_seconds": 0}
    assert second["password"] == "s3cret"
    assert farm.changes(user_id) == ["user.created", "lock.acquired"]


def test_asking_again_with_another_ttl_does_not_renew(farm: Farm, user_id: str) -> None:
    lease_id = str(uuid.uuid4())
    first = farm.acquire(user_id, lease_id=lease_id, ttl_seconds=60).json()

    second = farm.acquire(user_id, lease_id=lease_id, ttl_seconds=600).json()

    assert second["lock"]["expires_at"] == first["lock"]["expires_at"]


def test_the_same_principal_asking_with_another_lease_is_refused(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id)

    assert farm.acquire(user_id).json()["type"] == "urn:botfarm:problem:lock-held"
    assert farm.acquire(user_id, lease_id=str(uuid.uuid4())).json()["type"] == "urn:botfarm:problem:lock-held"


def test_a_lock_that_lapsed_is_taken_at_once_with_no_worker_running(farm: Farm, user_id: str) -> None:
    first = farm.acquire(user_id).json()
    farm.lapse(user_id)

    second = farm.acquire(user_id)

    assert second.status_code == 200
    assert second.json()["lock"]["token"] > first["lock"]["token"]
    assert farm.changes(user_id) == ["user.created", "lock.acquired", "lock.expired", "lock.acquired"]


def test_a_quarantined_user_is_not_granted(farm: Farm, user_id: str) -> None:
    farm.execute("UPDATE users SET status = 'quarantined', status_reason = 'banned' WHERE id = :id", id=user_id)

    answer = farm.acquire(user_id)

    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:botfarm:problem:user-quarantined"
    assert answer.json()["status_reason"] == "banned"
    assert farm.user(user_id)["lock"] is None


def test_after_a_lapse_the_user_cools_down(settings: Settings) -> None:
    with farming(settings.model_copy(update={"lock_cooldown_seconds": 30})) as farm:
        user_id = farm.new_user()["id"]
        farm.acquire(user_id)
        farm.lapse(user_id)

        answer = farm.acquire(user_id)

        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:botfarm:problem:cooling-down"
        resting = farm.user(user_id)
        assert answer.json()["available_at"] == resting["available_at"] > resting["created_at"]
        assert (resting["locked"], resting["lock"], resting["locktime"]) == (False, None, None)
        assert 1 <= int(answer.headers["Retry-After"]) <= 30
        assert "lock.expired" not in farm.changes(user_id)


def test_after_a_clean_release_nobody_cools_down(settings: Settings) -> None:
    with farming(settings.model_copy(update={"lock_cooldown_seconds": 30})) as farm:
        user_id = farm.new_user()["id"]
        farm.acquire(user_id)
        farm.release(user_id)

        assert farm.acquire(user_id).status_code == 200


def test_an_altered_password_is_an_error_that_tells_nothing(farm: Farm, user: dict[str, Any]) -> None:
    farm.execute("UPDATE users SET password_sealed = 'v1.gone.AAAA' WHERE id = :id", id=user["id"])

    answer = farm.acquire(user["id"])

    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:botfarm:problem:password-unreadable"
    assert "AAAA" not in answer.text


def test_without_a_sealing_key_no_password_is_stored(settings: Settings) -> None:
    with farming(settings.model_copy(update={"secret_keys_file": None})) as farm:
        refused = farm.client.post("/api/v1/users/", json={"login": "unsealed", "password": "planted"})

        assert refused.status_code == 409
        assert refused.json()["type"] == "urn:botfarm:problem:sealing-unconfigured"
        assert "planted" not in refused.text
        assert farm.acquire(farm.new_user(login="unsealed")["id"]).json()["password"] is None
