"""The metrics of the API."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from tests.api.farms import NOBODY, USERS, Farm
from tests.patience import eventually


def figures(farm: Farm) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values, in the order of the labels' names."""
    answer = farm.client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_method_route_and_status(served: Farm) -> None:
    for _ in range(3):
        served.client.get(f"{USERS}/{NOBODY}")
    served.client.post(f"{USERS}/", json={})

    exported = figures(served)

    assert exported["botfarm_http_requests_total", "GET", f"{USERS}/{{user_id}}", "404"] == 3
    assert exported["botfarm_http_requests_total", "POST", f"{USERS}/", "422"] == 1
    assert exported["botfarm_http_request_seconds_count", "GET", f"{USERS}/{{user_id}}"] == 3


def test_unknown_paths_share_one_label(served: Farm) -> None:
    for path in ("/a", "/b", f"{USERS}/x/y/z"):
        served.client.get(path)

    assert figures(served)["botfarm_http_requests_total", "GET", "unknown", "404"] == 3


def test_outcomes_of_lock_changes_are_counted(served: Farm) -> None:
    user_id = served.new_user()["id"]
    lease_id = served.acquire(user_id, lease_id=NOBODY).json()["lease_id"]
    served.acquire(user_id, lease_id=lease_id)
    served.acquire(user_id)
    served.renew(user_id, lease_id=lease_id)
    served.release(user_id)
    served.release(user_id)

    expected = ("granted", "granted-again", "LockHeld", "renewed", "released", "already-free")
    assert eventually(lambda: ("botfarm_lock_outcomes_total", "already-free") in figures(served))
    exported = figures(served)
    assert {name: exported["botfarm_lock_outcomes_total", name] for name in expected} == dict.fromkeys(expected, 1)


def test_the_figures_of_the_last_check_are_exported(served: Farm) -> None:
    served.new_user()

    assert eventually(lambda: figures(served).get(("botfarm_outbox_pending",)) == 1)
    exported = figures(served)
    assert exported[("botfarm_postgres_up",)] == 1
    assert exported[("botfarm_epoch",)] == 1
    assert exported[("botfarm_relay_lag",)] == 0
    assert exported[("botfarm_lane_waiting",)] == 0


@pytest.mark.parametrize("secret", ["s3cret", NOBODY])
def test_no_label_holds_what_callers_sent(served: Farm, secret: str) -> None:
    user_id = served.new_user(login="metered", password="s3cret")["id"]
    served.acquire(user_id, lease_id=NOBODY, owner="s3cret")

    exported = served.client.get("/metrics").text

    assert secret not in exported
    assert user_id not in exported


def test_a_refusal_that_no_count_has_confirmed_is_counted_apart(served: Farm) -> None:
    user = served.new_user(env="busy")

    with served.engine.begin() as conn:
        conn.execute(text("SELECT FROM users WHERE id = :id FOR UPDATE"), {"id": user["id"]})
        refused = served.pool(env="busy")
    taken, confirmed = served.pool(env="busy"), served.pool(env="busy")

    assert [refused.status_code, taken.status_code, confirmed.status_code] == [409, 200, 409]
    exported = served.client.get("/metrics").text
    assert 'botfarm_lock_outcomes_total{outcome="NoUserFreeUncounted"} 1.0' in exported
    assert 'botfarm_lock_outcomes_total{outcome="NoUserFree"} 1.0' in exported
