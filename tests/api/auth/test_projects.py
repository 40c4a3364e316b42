"""A key limited to projects sees and touches nothing else, in streams, histories, the line and webhooks alike."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from domain import webhooks
from domain.configuration.settings import Settings
from tests import patience
from tests.api.auth.keyrings import FOREIGN, OWN, bearing, new_key
from tests.api.farms import EVENTS, LINE, USERS, Farm, farming
from tests.api.routes.hooks import HOOKS, URL
from tests.patience import eventually


@pytest.fixture(scope="module")
def guarded(fresh_settings: Callable[[], Settings]) -> Iterator[Farm]:
    with farming(fresh_settings().model_copy(update={"auth": "keys"})) as farm:
        farm.client.headers["Authorization"] = f"Bearer {new_key(farm, 'root', 'admin')}"
        yield farm


@pytest.fixture
def limited(guarded: Farm) -> Iterator[httpx.Client]:
    """A client that may do everything, with one project."""
    key = new_key(guarded, f"limited-{uuid.uuid4().hex}", "admin", projects=[OWN])
    with bearing(guarded, key) as client:
        yield client


def one_of_each(farm: Farm, **fields: Any) -> dict[str, str]:
    """A user of the own project, one of a foreign one and one of none."""
    projects = {"own": str(OWN), "foreign": str(FOREIGN), "none": None}
    return {where: str(farm.new_user(project_id=project, **fields)["id"]) for where, project in projects.items()}


def test_a_stream_tells_of_the_own_project_whether_it_catches_up_or_follows(
    guarded: Farm, limited: httpx.Client
) -> None:
    before = one_of_each(guarded)
    guarded.publish()
    heard: list[str] = []
    done = threading.Event()

    def listen() -> None:
        with limited.stream("GET", f"{EVENTS}/stream") as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    heard.append(json.loads(line[5:])["data"]["user_id"])
                if done.is_set() or after["own"] in heard:
                    return

    after: dict[str, str] = {"own": "not yet"}
    thread = threading.Thread(target=listen)
    thread.start()
    assert eventually(lambda: before["own"] in heard)
    after = one_of_each(guarded)
    guarded.publish()
    thread.join(patience.limit(10))
    done.set()

    assert not thread.is_alive()
    assert {before["own"], after["own"]} <= set(heard)
    assert not {before["foreign"], before["none"], after["foreign"], after["none"]} & set(heard)


def test_a_long_poll_is_not_woken_by_a_foreign_project(guarded: Farm, limited: httpx.Client) -> None:
    polling = guarded.callers.submit(limited.get, EVENTS, params={"after": "latest", "wait_seconds": 10})
    one_of_each(guarded)
    own = guarded.new_user(project_id=str(OWN))["id"]
    guarded.publish()

    body = polling.result(patience.limit(20)).json()

    assert {event["data"]["project_id"] for event in body} <= {str(OWN)}
    assert guarded.user(own)["id"] == own


def test_filters_that_name_a_foreign_project_are_403(limited: httpx.Client) -> None:
    named = {"project_id": str(FOREIGN)}
    answers = [
        limited.get(f"{USERS}/", params=named),
        limited.get(f"{USERS}/", params={"project_id": "none"}),
        limited.get(EVENTS, params=named),
        limited.get(f"{EVENTS}/stream", params=named),
        limited.post(f"{USERS}/acquire_lock", json=named),
        limited.post(f"{HOOKS}/", json={"url": URL, **named}),
    ]

    assert [answer.status_code for answer in answers] == [403] * len(answers)


def test_a_history_is_judged_by_the_project_of_each_event(guarded: Farm, limited: httpx.Client) -> None:
    user_id = guarded.new_user(project_id=str(FOREIGN))["id"]
    guarded.change(user_id, project_id=str(OWN))
    guarded.change(user_id, env="prod")
    guarded.change(user_id, project_id=str(FOREIGN))
    guarded.publish()

    body = limited.get(f"{USERS}/{user_id}/events").json()

    assert [event["data"]["project_id"] for event in body] == [str(OWN)] * 2
    assert len(guarded.client.get(f"{USERS}/{user_id}/events").json()) == 4


def test_the_past_holder_of_a_foreign_user_is_not_shown(guarded: Farm, limited: httpx.Client) -> None:
    users = one_of_each(guarded)
    for user_id in users.values():
        guarded.acquire(user_id)
    guarded.publish()
    at = {"at": datetime.now(UTC).isoformat()}

    body = {where: limited.get(f"{USERS}/{user_id}/events", params=at).json() for where, user_id in users.items()}
    unknown = limited.get(f"{USERS}/{uuid.uuid4()}/events", params=at).json()

    assert len(body["own"]) == 1
    assert body["foreign"] == body["none"] == unknown == []


def test_a_pool_without_a_project_takes_and_counts_the_own_one_only(guarded: Farm, limited: httpx.Client) -> None:
    users = one_of_each(guarded, env="pooled")

    taken = limited.post(f"{USERS}/acquire_lock", json={"env": "pooled"})
    more = limited.post(f"{USERS}/acquire_lock", json={"env": "pooled", "count": 2})

    assert [user["id"] for user in taken.json()["users"]] == [users["own"]]
    assert (more.status_code, more.json()["matching"]) == (404, 1)


def test_a_request_in_line_is_explained_with_users_of_the_own_project_only(
    guarded: Farm, limited: httpx.Client
) -> None:
    users = one_of_each(guarded, env="line")
    for user_id in users.values():
        guarded.acquire(user_id)
    own, anyones = str(uuid.uuid4()), str(uuid.uuid4())
    wish = {"env": "line", "wait_seconds": 10}
    waiting = [
        guarded.meanwhile(guarded.pool, **wish, request_id=own, project_id=str(OWN)),
        guarded.meanwhile(guarded.pool, **wish, request_id=anyones),
    ]
    assert eventually(lambda: all(guarded.request(each).status_code == 200 for each in (own, anyones)))

    seen, hidden = (limited.get(f"{LINE}/{each}") for each in (own, anyones))
    listed = [request["request_id"] for request in limited.get(f"{LINE}/").json()]
    for each in (own, anyones):
        guarded.cancel(each)
    for call in waiting:
        call.result(patience.limit(10))

    assert [holder["user_id"] for holder in seen.json()["holders"]] == [users["own"]]
    assert hidden.status_code == 404
    assert listed == [own]


def test_what_an_admin_of_one_project_waits_for_is_never_a_foreign_user(guarded: Farm, limited: httpx.Client) -> None:
    users = one_of_each(guarded, env="granted")
    for user_id in users.values():
        guarded.acquire(user_id)
    waiting = guarded.callers.submit(limited.post, f"{USERS}/acquire_lock", json={"env": "granted", "wait_seconds": 10})
    assert eventually(lambda: len(limited.get(f"{LINE}/").json()) == 1)

    guarded.release(users["foreign"])
    guarded.release(users["none"])
    guarded.hand_out()
    still = not waiting.done()
    guarded.release(users["own"])

    assert still
    assert [user["id"] for user in waiting.result(patience.limit(10)).json()["users"]] == [users["own"]]


def test_a_webhook_of_an_admin_of_one_project_is_sent_that_project_only(guarded: Farm, limited: httpx.Client) -> None:
    hook = limited.post(f"{HOOKS}/", json={"url": URL}).json()
    one_of_each(guarded)
    guarded.publish()

    with guarded.engine.begin() as conn:
        due = webhooks.due(conn)
        (claim,) = webhooks.claim(conn, wanted=[uuid.UUID(hook["id"])])
        token = webhooks.start(conn, webhook_id=claim.webhook_id, claim=claim.claim)
        assert token is not None
        run = webhooks.look(conn, webhook_id=claim.webhook_id, token=token)

    assert hook["projects"] == [str(OWN)]
    assert uuid.UUID(hook["id"]) in due.wanted
    assert run is not None
    assert {event.data["project_id"] for event in run.events} == {str(OWN)}


def test_a_webhook_of_one_project_is_not_even_due_for_another(guarded: Farm, limited: httpx.Client) -> None:
    hook = limited.post(f"{HOOKS}/", json={"url": URL}).json()
    guarded.new_user(project_id=str(FOREIGN))
    guarded.publish()

    with guarded.engine.begin() as conn:
        assert uuid.UUID(hook["id"]) not in webhooks.due(conn).wanted
    limited.delete(f"{HOOKS}/{hook['id']}")


def test_a_key_without_limits_sees_everything(guarded: Farm) -> None:
    users = one_of_each(guarded)
    guarded.publish()

    body = guarded.client.get(EVENTS, params={"limit": 1_000}).text

    assert [user_id in body for user_id in users.values()] == [True] * 3
