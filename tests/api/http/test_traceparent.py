"""The trace of the call that made a change travels on in its event."""

import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import httpx
import pytest

from api.http import traceparent
from domain import locks
from tests.api.events.cloudevents import faults
from tests.api.farms import EVENTS, LINE, USERS, Farm
from tests.patience import eventually

ALICE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BOB = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def post(farm: Farm, path: str, body: Any = None, *, trace: str | None = ALICE) -> httpx.Response:
    headers = {} if trace is None else {"traceparent": trace}
    return farm.client.post(f"{USERS}{path}", json=body, headers=headers)


def traces(farm: Farm) -> list[tuple[str, str | None]]:
    """Kind and trace of every event so far, and that each has the promised form."""
    farm.publish()
    found = farm.client.get(EVENTS, params={"limit": 1_000}).json()
    assert [faults(event) for event in found] == [[]] * len(found)
    return [(event["type"].split(".", 1)[1].removesuffix(".v1"), event.get("traceparent")) for event in found]


def test_creating_changing_and_deleting_users(served: Farm) -> None:
    user_id = post(served, "/", {"login": "one"}).json()["id"]
    post(served, "/batch", [{"login": "two"}, {"login": "three"}], trace=BOB)
    served.client.patch(f"{USERS}/{user_id}", json={"env": "prod"}, headers={"traceparent": BOB})
    served.client.delete(f"{USERS}/{user_id}", headers={"traceparent": ALICE})

    assert traces(served) == [
        ("user.created", ALICE),
        ("user.created", BOB),
        ("user.created", BOB),
        ("user.updated", BOB),
        ("user.deleted", ALICE),
    ]


def test_acquiring_renewing_and_releasing_one_user(served: Farm) -> None:
    user_id = served.new_user()["id"]
    lease_id = post(served, f"/{user_id}/acquire_lock").json()["lease_id"]
    post(served, f"/{user_id}/renew_lock", {"lease_id": lease_id}, trace=BOB)
    post(served, f"/{user_id}/release_lock", {"lease_id": lease_id}, trace=ALICE)
    post(served, f"/{user_id}/acquire_lock", trace=None)
    post(served, f"/{user_id}/release_lock", {"force": True, "reason": "maintenance"}, trace=BOB)

    assert traces(served)[1:] == [
        ("lock.acquired", ALICE),
        ("lock.renewed", BOB),
        ("lock.released", ALICE),
        ("lock.acquired", None),
        ("lock.released", BOB),
    ]


def test_all_events_of_a_forced_deletion_have_one_trace(served: Farm) -> None:
    user_id = served.new_user()["id"]
    served.acquire(user_id)
    served.client.delete(f"{USERS}/{user_id}", params={"force": True, "reason": "gone"}, headers={"traceparent": ALICE})

    assert traces(served)[2:] == [("lock.released", ALICE), ("user.deleted", ALICE)]


def test_any_users_and_lists_of_leases(served: Farm) -> None:
    for _ in range(2):
        served.new_user()
    users = post(served, "/acquire_lock", {"count": 2, "owner": "job"}).json()["users"]
    leases = [{"user_id": user["id"], "lease_id": user["lease_id"]} for user in users]
    post(served, "/renew_lock", {"leases": leases}, trace=BOB)
    post(served, "/release_lock", {"leases": leases[:1]}, trace=ALICE)
    post(served, "/release_lock", {"owner": "job"}, trace=BOB)

    assert traces(served)[2:] == [
        ("lock.acquired", ALICE),
        ("lock.acquired", ALICE),
        ("lock.renewed", BOB),
        ("lock.renewed", BOB),
        ("lock.released", ALICE),
        ("lock.released", BOB),
    ]


def test_an_expiry_has_no_trace_and_the_next_grant_has_its_own(served: Farm) -> None:
    taken_over, swept = served.new_user()["id"], served.new_user()["id"]
    for user_id in (taken_over, swept):
        post(served, f"/{user_id}/acquire_lock", trace=ALICE)
        served.lapse(user_id)
    post(served, f"/{taken_over}/acquire_lock", trace=BOB)

    with served.engine.begin() as conn:
        assert locks.expire(conn) == 1

    assert traces(served)[4:] == [("lock.expired", None), ("lock.acquired", BOB), ("lock.expired", None)]


def waits(farm: Farm, call: Callable[[], httpx.Response]) -> Future[httpx.Response]:
    """The call, once its request stands in line."""
    answer = farm.meanwhile(call)
    assert eventually(lambda: len(farm.client.get(f"{LINE}/").json()) == 1)
    return answer


@pytest.mark.parametrize("path", ["/acquire_lock", "/{user_id}/acquire_lock"])
def test_a_grant_from_the_line_has_the_trace_of_the_waiting_call(served: Farm, path: str) -> None:
    user_id = served.new_user()["id"]
    lease_id = served.acquire(user_id).json()["lease_id"]
    asked = waits(served, lambda: post(served, path.format(user_id=user_id), {"wait_seconds": 20}, trace=ALICE))

    post(served, f"/{user_id}/release_lock", {"lease_id": lease_id}, trace=BOB)

    assert asked.result().status_code == 200
    assert traces(served)[2:] == [("lock.released", BOB), ("lock.acquired", ALICE)]


def test_calls_that_are_committed_together_keep_their_own_traces(served: Farm) -> None:
    ids = [served.new_user()["id"] for _ in range(24)]
    trace_of = {user_id: f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01" for user_id in ids}
    calls = [
        served.meanwhile(lambda user_id=user_id: post(served, f"/{user_id}/acquire_lock", trace=trace_of[user_id]))
        for user_id in ids
    ]
    assert {call.result().status_code for call in calls} == {200}

    served.publish()
    found = served.client.get(EVENTS, params={"type": "botfarm.lock.acquired.v1"}).json()
    assert {event["data"]["user_id"]: event["traceparent"] for event in found} == trace_of


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "nonsense",
        ALICE.upper(),
        ALICE[:-1],
        f"{ALICE}-more",
        f"{ALICE}0",
        "ff" + ALICE[2:],
        "00-" + "0" * 32 + ALICE[35:],
        ALICE[:36] + "0" * 16 + "-01",
        ALICE.replace("-", "_"),
        "é" * 55,
        "x" * 5_000,
    ],
    ids=lambda text: text[:20] or "empty",
)
def test_a_malformed_trace_is_ignored(farm: Farm, malformed: str) -> None:
    answer = farm.client.post(
        f"{USERS}/", json={"login": uuid.uuid4().hex}, headers=[(b"traceparent", malformed.encode())]
    )

    assert answer.status_code == 201
    farm.publish()
    (event,) = farm.client.get(EVENTS, params={"user_id": answer.json()["id"]}).json()
    assert "traceparent" not in event


def test_two_traceparent_headers_are_ignored(served: Farm) -> None:
    headers = [("traceparent", ALICE), ("traceparent", BOB)]
    served.client.post(f"{USERS}/", json={"login": "one"}, headers=headers)

    assert traces(served) == [("user.created", None)]


@pytest.mark.parametrize(
    ("later", "taken"),
    [("cc" + ALICE[2:] + "-what-comes", ALICE), ("01" + BOB[2:-2] + "fe", BOB), ("01" + ALICE[2:-2] + "ff", ALICE)],
)
def test_of_a_later_version_the_fields_of_version_00_are_kept(later: str, taken: str) -> None:
    assert traceparent.parse(later.encode()) == taken


def test_a_call_without_a_trace_does_not_inherit_the_one_before_it_on_its_connection(served: Farm) -> None:
    post(served, "/", {"login": "one"}, trace=ALICE)
    post(served, "/", {"login": "two"}, trace=None)

    assert traces(served) == [("user.created", ALICE), ("user.created", None)]
