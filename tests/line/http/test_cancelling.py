"""Ending requests over HTTP: who may end what, what it leaves behind, and that history and audit say who and why."""

import io
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from domain.configuration.settings import Settings
from tests import patience
from tests.api.auth.keyrings import FOREIGN, OWN, bearing, new_key
from tests.api.farms import LINE, USERS, Farm, farming
from tests.api.locking.pools import ids, leases, new_pool, refused, stand_for, state
from tests.api.logs import lines, logging_to
from tests.patience import eventually

SOON = 0.9
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FORCE = {"force": "true", "reason": "host is on fire"}


@pytest.fixture(scope="module")
def guarded(fresh_settings: Callable[[], Settings]) -> Iterator[Farm]:
    with farming(fresh_settings().model_copy(update={"auth": "keys"})) as farm:
        farm.client.headers["Authorization"] = f"Bearer {new_key(farm, 'root', 'admin')}"
        yield farm


@pytest.fixture
def alice(guarded: Farm) -> Iterator[httpx.Client]:
    """She locks, in two projects."""
    with client(guarded, "alice", "lock", projects=[OWN, FOREIGN]) as alice:
        yield alice


@pytest.fixture
def limited(guarded: Farm) -> Iterator[httpx.Client]:
    """An admin of the own project alone."""
    with client(guarded, "limited", "admin", projects=[OWN]) as limited:
        yield limited


@pytest.fixture
def request_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logging_to(io.StringIO()) as stream:
        yield stream


def client(farm: Farm, name: str, *scopes: str, **limits: Any) -> httpx.Client:
    return bearing(farm, new_key(farm, f"{name}-{uuid.uuid4().hex}", *scopes, **limits))


def name_of(caller: httpx.Client) -> str:
    return str(caller.get("/api/v1/whoami").json()["principal"])


def take(farm: Farm, caller: httpx.Client, request_id: str, *, count: int = 1) -> list[str]:
    """Users of the own project that nobody else can take, granted to the caller's request."""
    tag = {"for": request_id[:8]}
    for _ in range(count):
        farm.new_user(project_id=str(OWN), labels=tag)
    answer = ask(caller, request_id, count=count)
    assert answer.status_code == 200, answer.text
    return ids(answer.json())


def ask(caller: httpx.Client, request_id: str, **wish: Any) -> httpx.Response:
    tag = {"for": request_id[:8]}
    return caller.post(f"{USERS}/acquire_lock", json={"labels": tag, "request_id": request_id, **wish})


def end(caller: httpx.Client, request_id: str, **query: Any) -> httpx.Response:
    return caller.delete(f"{LINE}/{request_id}", params=query)


def last_event(farm: Farm, user_id: str) -> dict[str, Any]:
    farm.publish()
    return dict(farm.client.get(f"{USERS}/{user_id}/events").json()[0])


def audits(log: io.StringIO, answer: httpx.Response) -> list[dict[str, Any]]:
    """What the log says of this call as an act of an administrator."""
    request_id = answer.headers["X-Request-ID"]

    def said() -> list[dict[str, Any]]:
        return [line for line in lines(log.getvalue()) if line.get("request_id") == request_id]

    assert eventually(lambda: any(line["event"] == "http_request" for line in said()))
    return [line for line in said() if line["event"] == "audit"]


def locked(farm: Farm, user_id: str) -> bool:
    return farm.user(user_id)["lock"] is not None


def test_ones_own_granted_request_ends_as_by_a_release(guarded: Farm, alice: httpx.Client, request_id: str) -> None:
    user_ids = take(guarded, alice, request_id, count=2)

    answer = alice.delete(f"{LINE}/{request_id}", headers={"traceparent": TRACE})

    assert (answer.status_code, answer.content) == (204, b"")
    for user_id in user_ids:
        event = last_event(guarded, user_id)
        assert not locked(guarded, user_id)
        assert event["type"] == "botfarm.lock.released.v1"
        assert (event["data"]["reason"], event["data"]["note"]) == ("holder", None)
        assert (event["principal"], event["traceparent"]) == (name_of(alice), TRACE)


def test_afterwards_the_lease_is_lost_as_one_that_was_released(farm: Farm, request_id: str) -> None:
    pool = new_pool(farm, 1)
    (user,) = pool.take(request_id=request_id)["users"]
    farm.cancel(request_id)

    renewed, released = (call(user["id"], lease_id=user["lease_id"]) for call in (farm.renew, farm.release))

    assert refused(renewed, 409, "lease-lost")["reason"] == "released"
    assert (released.status_code, released.json()["released"]) == (200, False)


def test_a_granted_request_that_was_ended_is_never_granted_again(farm: Farm, request_id: str) -> None:
    pool = new_pool(farm, 1)
    (user_id,) = ids(pool.take(request_id=request_id))
    token = farm.user(user_id)["lock"]["token"]

    assert farm.cancel(request_id).status_code == 204

    assert refused(farm.cancel(request_id), 409, "request-ended")["request_id"] == request_id
    for wait_seconds in (0, 5):
        refused(pool.ask(request_id=request_id, wait_seconds=wait_seconds), 409, "request-ended")
    refused(farm.cancel(request_id, **FORCE), 409, "request-ended")
    assert farm.changes(user_id) == ["user.created", "lock.acquired", "lock.released"]
    assert pool.take()["users"][0]["lock"]["token"] > token


def test_a_request_whose_leases_ended_by_themselves_has_nothing_left_to_end(farm: Farm, request_id: str) -> None:
    pool = new_pool(farm, 2)
    lapsed, released = ids(pool.take(request_id=request_id, count=2))
    farm.lapse(lapsed)
    farm.release(released)

    refused(farm.cancel(request_id), 409, "request-ended")

    assert farm.endings(lapsed) == []
    assert farm.endings(released) == ["holder"]


def test_what_a_request_had_goes_to_the_next_in_line(farm: Farm, request_id: str) -> None:
    pool = new_pool(farm, 2)
    pool.take(count=2, request_id=request_id)
    waiting = pool.stand(count=2)

    farm.cancel(request_id)

    assert sorted(waiting.granted(seconds=SOON)) == sorted(pool.user_ids)


def test_ending_a_request_spares_what_has_been_lost_to_somebody_else(farm: Farm, request_id: str) -> None:
    pool = new_pool(farm, 2)
    lost, kept = ids(pool.take(request_id=request_id, count=2))
    farm.lapse(lost)
    farm.acquire(lost, owner="somebody else")

    assert farm.cancel(request_id).status_code == 204

    assert farm.user(lost)["lock"]["owner"] == "somebody else"
    assert not locked(farm, kept)


def test_a_request_for_one_user_ends_with_its_lease(farm: Farm, user_id: str) -> None:
    farm.acquire(user_id)
    waiting = stand_for(farm, user_id)
    farm.release(user_id)
    lease_id = waiting.request_id
    assert waiting.granted(seconds=SOON) == [user_id]

    assert farm.cancel(lease_id).status_code == 204

    assert farm.endings(user_id) == ["holder", "holder"]
    assert refused(farm.acquire(user_id, lease_id=lease_id), 409, "lease-lost")["reason"] == "released"
    refused(farm.cancel(lease_id), 409, "request-ended")


def test_a_place_in_line_is_forgotten_and_may_be_taken_afresh(farm: Farm, request_id: str) -> None:
    pool = new_pool(farm, 1)
    pool.take()
    waiting = pool.stand(request_id=request_id)

    assert farm.cancel(request_id).status_code == 204

    refused(waiting.answer(seconds=SOON), 404, "request-not-found")
    refused(farm.cancel(request_id), 404, "request-not-found")
    again = pool.stand(request_id=request_id)
    farm.release(pool.user_ids[0])
    assert again.granted(seconds=3) == pool.user_ids


def test_another_principals_lock_is_ended_by_force_only(
    guarded: Farm, alice: httpx.Client, request_id: str, log: io.StringIO
) -> None:
    (user_id,) = take(guarded, alice, request_id)

    bare = guarded.cancel(request_id)

    problem = refused(bare, 403, "not-lock-holder")
    assert (problem["request_id"], problem["user_id"], problem["owner"]) == (request_id, user_id, name_of(alice))
    assert "force=true and a reason" in problem["detail"]
    assert [line["outcome"] for line in audits(log, bare)] == ["forbidden"]
    assert locked(guarded, user_id)

    forced = guarded.cancel(request_id, **FORCE)

    assert forced.status_code == 204
    event = last_event(guarded, user_id)
    assert (event["principal"], event["data"]["reason"], event["data"]["note"]) == ("root", "forced", FORCE["reason"])
    (line,) = audits(log, forced)
    said = {name: line[name] for name in ("who", "what", "on", "reason", "principal", "users", "outcome")}
    assert said == {
        "who": "root",
        "what": "request.force",
        "on": request_id,
        "reason": FORCE["reason"],
        "principal": name_of(alice),
        "users": [user_id],
        "outcome": "done",
    }
    refused(guarded.cancel(request_id, **FORCE), 409, "request-ended")
    refused(ask(alice, request_id), 409, "request-ended")


def test_the_holder_learns_why_it_was_forced_out(guarded: Farm, alice: httpx.Client, request_id: str) -> None:
    take(guarded, alice, request_id)
    (lease,) = leases(ask(alice, request_id).json()["users"])
    guarded.cancel(request_id, **FORCE)

    late = alice.post(f"{USERS}/{lease['user_id']}/renew_lock", json={"lease_id": lease["lease_id"]})

    problem = refused(late, 409, "lease-lost")
    assert (problem["reason"], problem["note"]) == ("forced", FORCE["reason"])


def test_force_needs_the_scope_admin_even_for_ones_own(guarded: Farm, alice: httpx.Client, request_id: str) -> None:
    (user_id,) = take(guarded, alice, request_id)

    refused(end(alice, request_id, **FORCE), 403, "forbidden")

    assert locked(guarded, user_id)


def test_who_may_only_lock_ends_its_own_requests_alone(guarded: Farm, alice: httpx.Client, request_id: str) -> None:
    (user_id,) = take(guarded, alice, request_id)

    with client(guarded, "stranger", "lock", "read") as stranger:
        refused(end(stranger, request_id), 404, "request-not-found")

    assert locked(guarded, user_id)


def test_force_spares_users_that_have_left_the_admins_projects(
    guarded: Farm, alice: httpx.Client, limited: httpx.Client, request_id: str
) -> None:
    here, gone = take(guarded, alice, request_id, count=2)
    guarded.change(gone, project_id=str(FOREIGN))

    assert end(limited, request_id, **FORCE).status_code == 204

    assert [locked(guarded, user_id) for user_id in (here, gone)] == [False, True]
    refused(end(limited, request_id, **FORCE), 409, "request-ended")
    assert guarded.cancel(request_id, **FORCE).status_code == 204
    assert not locked(guarded, gone)


def test_a_request_whose_users_have_all_left_does_not_exist_for_the_admin(
    guarded: Farm, alice: httpx.Client, limited: httpx.Client, request_id: str
) -> None:
    (user_id,) = take(guarded, alice, request_id)
    guarded.change(user_id, project_id=str(FOREIGN))

    for query in ({}, FORCE):
        refused(end(limited, request_id, **query), 404, "request-not-found")

    assert locked(guarded, user_id)
    assert guarded.changes(user_id) == ["user.created", "lock.acquired", "user.updated"]


def test_an_admin_ends_what_a_request_of_the_whole_farm_has_in_its_projects(
    guarded: Farm, limited: httpx.Client, request_id: str
) -> None:
    tag = {"for": request_id[:8]}
    own, foreign = (guarded.new_user(project_id=str(project), labels=tag)["id"] for project in (OWN, FOREIGN))
    with client(guarded, "unlimited", "lock") as unlimited:
        assert ask(unlimited, request_id, count=2).status_code == 200

    refused(end(limited, request_id), 403, "not-lock-holder")
    assert end(limited, request_id, **FORCE).status_code == 204

    assert [locked(guarded, user_id) for user_id in (own, foreign)] == [False, True]


def test_a_holder_does_not_end_what_has_left_its_projects(guarded: Farm, request_id: str) -> None:
    with client(guarded, "holder", "lock", projects=[OWN]) as holder:
        (user_id,) = take(guarded, holder, request_id)
        guarded.change(user_id, project_id=str(FOREIGN))

        refused(end(holder, request_id), 409, "request-ended")
        refused(ask(holder, request_id), 409, "request-ended")

    assert locked(guarded, user_id)


def test_an_admin_takes_anothers_request_out_of_the_line_and_that_is_audited(
    guarded: Farm, alice: httpx.Client, request_id: str, log: io.StringIO
) -> None:
    (user_id,) = take(guarded, alice, str(uuid.uuid4()))
    wish = {"lease_id": request_id, "wait_seconds": 20}
    waiting = guarded.callers.submit(alice.post, f"{USERS}/{user_id}/acquire_lock", json=wish)
    assert eventually(lambda: state(guarded, request_id) == "waiting")

    answer = guarded.cancel(request_id)

    refused(waiting.result(patience.limit(10)), 404, "request-not-found")
    assert answer.status_code == 204
    (line,) = audits(log, answer)
    assert (line["who"], line["what"], line["on"]) == ("root", "request.cancel", request_id)
    assert line["principal"] == name_of(alice)
    assert locked(guarded, user_id)


@pytest.mark.parametrize("query", [{"force": "true"}, {"reason": "x"}, {"force": "true", "reason": ""}, {"why": "x"}])
def test_force_and_a_reason_go_together(farm: Farm, request_id: str, query: dict[str, str]) -> None:
    pool = new_pool(farm, 1)
    pool.take(request_id=request_id)

    assert farm.cancel(request_id, **query).status_code == 422

    assert pool.locked() == pool.user_ids


def test_readers_are_shown_the_user_free_without_waiting_for_the_worker(
    farm: Farm, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user_id,) = ids(new_pool(farm, 1).take(request_id=request_id))
    offered: list[Any] = []
    monkeypatch.setattr(farm.app.state.services.cache_writer, "offer_outcomes", offered.extend)

    farm.cancel(request_id)

    assert [(str(released.user.id), released.user.lock) for released in offered] == [(user_id, None)]
