"""Webhooks over HTTP: made, shown, changed, paused, resumed, and never with a secret but when it is made."""

import uuid
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from domain.configuration.settings import Settings
from tests import patience
from tests.api.farms import NOBODY, Farm, farming, next_of
from tests.api.routes.hooks import HOOKS, URL, make, slug
from tests.api.servers import ApiProcess
from tests.patience import eventually


def test_a_new_webhook_shows_its_secret_this_once(farm: Farm) -> None:
    answer = farm.client.post(f"{HOOKS}/", json={"url": URL, "description": "CI"})

    made = answer.json()
    shown = farm.client.get(answer.headers["Location"])
    assert answer.status_code == 201
    assert made["secret"].startswith("whsec_")
    assert len(made["secret"]) > 40
    assert shown.json() == {name: value for name, value in made.items() if name != "secret"}
    assert (made["status"], made["attempt"], made["next_attempt_at"], made["types"]) == ("active", 0, None, [])


def test_no_answer_shows_a_secret_again_and_the_database_has_it_sealed(farm: Farm) -> None:
    made = make(farm)
    path = f"{HOOKS}/{made['id']}"
    answers = [
        farm.client.get(path),
        farm.client.get(f"{HOOKS}/", params={"limit": 1_000}),
        farm.client.patch(path, json={"description": "other"}),
        farm.client.post(f"{path}/resume"),
        farm.client.get(f"{path}/deliveries"),
    ]

    with farm.engine.begin() as conn:
        rows = str(conn.exec_driver_sql("SELECT * FROM webhooks").all())
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.text for answer in answers if made["secret"][6:] in answer.text or "sealed" in answer.text] == []
    assert made["secret"][6:] not in rows


def test_a_rotation_shows_the_new_secret_and_how_long_the_old_one_holds(farm: Farm) -> None:
    made = make(farm)
    path = f"{HOOKS}/{made['id']}/rotate_secret"

    by_default, at_once = farm.client.post(path), farm.client.post(path, json={"overlap_seconds": 0})

    assert len({made["secret"], by_default.json()["secret"], at_once.json()["secret"]}) == 3
    assert by_default.json()["previous_secret_valid_until"] is not None
    assert at_once.json()["previous_secret_valid_until"] is None


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://example.org/", 201),
        ("http://example.org:8080/a?b=c", 201),
        ("https://8.8.8.8/", 201),
        ("ftp://example.org/", 422),
        ("example.org", 422),
        ("https://", 422),
        ("https://user:secret@example.org/", 422),
        ("https://user@example.org/", 422),
        ("https://example.org/#part", 422),
        ("https://example.org/" + "a" * 3_000, 422),
        ("http://127.0.0.1:8000/", 422),
        ("http://2130706433/", 422),
        ("http://0x7f.1/", 422),
        ("http://localhost/", 422),
        ("http://[::1]/", 422),
        ("http://[::ffff:10.0.0.1]/", 422),
        ("http://169.254.169.254/latest/meta-data", 422),
        ("http://192.168.0.1/", 422),
    ],
)
def test_a_url_that_cannot_be_is_refused_without_being_repeated(farm: Farm, url: str, status: int) -> None:
    created = farm.client.post(f"{HOOKS}/", json={"url": url})
    changed = farm.client.patch(f"{HOOKS}/{make(farm)['id']}", json={"url": url})

    assert (created.status_code, changed.status_code) == (status, 200 if status == 201 else 422)
    if status == 422:
        assert slug(created) in ("invalid-request", "address-forbidden")
        assert "secret" not in created.text
        assert "meta-data" not in created.text


def test_an_address_of_an_allowed_network_may_be_given(settings: Settings) -> None:
    allowing = settings.model_copy(update={"webhook_allow_networks": (ip_network("127.0.0.0/8"),)})
    with farming(allowing) as farm:
        statuses = [
            farm.client.post(f"{HOOKS}/", json={"url": url}).status_code
            for url in ("http://127.0.0.1:9/", "http://localhost:9/", "http://10.0.0.1/")
        ]

    assert statuses == [201, 201, 422]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": URL, "secret": "mine"},
        {"url": URL, "types": [""]},
        {"url": URL, "env": "Not A Slug"},
        {"url": URL, "user_id": "x"},
        {"url": 7},
    ],
)
def test_what_a_webhook_cannot_be_is_refused(farm: Farm, body: dict[str, Any]) -> None:
    assert farm.client.post(f"{HOOKS}/", json=body).status_code == 422


@pytest.mark.parametrize(
    ("after", "status", "kind"),
    [("?", 400, "cursor-malformed"), ("7-7", 409, "cursor-unknown"), ("1-999999999", 409, "cursor-unknown")],
)
def test_a_webhook_cannot_begin_at_no_place(farm: Farm, after: str, status: int, kind: str) -> None:
    answer = farm.client.post(f"{HOOKS}/", json={"url": URL, "after": after})

    assert (answer.status_code, slug(answer)) == (status, kind)


def test_a_webhook_begins_at_the_end_or_after_any_cursor(served: Farm) -> None:
    for _ in range(3):
        served.new_user()
    served.publish()

    served.execute("DELETE FROM events WHERE seq = 1")

    begun = [make(served)["cursor"], *(make(served, after=after)["cursor"] for after in ("latest", "1-2", None))]

    assert begun == ["1-3", "1-3", "1-2", "1-1"]


def test_a_webhook_changes_in_the_given_fields_only(farm: Farm) -> None:
    made = make(farm, types=["botfarm.lock.acquired.v1"], env="prod")
    path = f"{HOOKS}/{made['id']}"
    project = str(uuid.uuid4())

    changed = farm.client.patch(path, json={"env": None, "project_id": project, "url": "https://example.org/b"}).json()

    expected = {"env": None, "project_id": project, "url": "https://example.org/b"}
    kept = {name for name in changed if changed[name] == made.get(name)}
    assert {name: changed[name] for name in expected} == expected
    assert set(changed) - kept == {*expected, "updated_at"}
    assert farm.client.patch(path, json={"url": None}).status_code == 422
    assert farm.client.patch(path, json={"status": "disabled"}).status_code == 422
    assert farm.client.patch(path, json={"cursor": "1-1"}).status_code == 422


def test_pausing_and_resuming_keep_the_cursor(served: Farm) -> None:
    made = make(served)
    path = f"{HOOKS}/{made['id']}"
    served.new_user()
    served.publish()

    paused = served.client.patch(path, json={"status": "paused"}).json()
    active = served.client.patch(path, json={"status": "active"}).json()
    moved = served.client.post(f"{path}/resume", json={"after": "latest"}).json()

    assert [body["status"] for body in (paused, active, moved)] == ["paused", "active", "active"]
    assert [body["cursor"] for body in (paused, active, moved)] == ["1-0", "1-0", "1-1"]


def test_resuming_where_events_are_gone_is_refused_with_the_oldest_place(served: Farm) -> None:
    made = make(served)
    path = f"{HOOKS}/{made['id']}"
    for _ in range(4):
        served.new_user()
    served.publish()
    served.client.patch(path, json={"status": "paused"})
    served.execute("DELETE FROM events WHERE seq <= 2")

    refused = served.client.post(f"{path}/resume")
    resumed = served.client.post(f"{path}/resume", json={"after": refused.json()["oldest"]})

    assert (refused.status_code, slug(refused), refused.json()["oldest"]) == (410, "cursor-too-old", "1-2")
    assert (resumed.status_code, resumed.json()["status"], resumed.json()["cursor"]) == (200, "active", "1-2")


def test_webhooks_are_listed_in_pages(served: Farm) -> None:
    made = {make(served)["id"] for _ in range(5)}
    path: str | None = f"{HOOKS}/?limit=2"
    listed: list[str] = []

    while path:
        answer = served.client.get(path)
        listed += [body["id"] for body in answer.json()]
        path = next_of(answer)

    assert sorted(listed) == sorted(made)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/resume"),
        ("POST", "/rotate_secret"),
        ("GET", "/deliveries"),
        ("POST", "/deliveries/1/send_again"),
    ],
)
def test_a_webhook_that_is_not_there_is_404(farm: Farm, method: str, path: str) -> None:
    answer = farm.client.request(method, f"{HOOKS}/{NOBODY}{path}", json={} if method == "PATCH" else None)

    assert (answer.status_code, slug(answer)) == (404, "webhook-not-found")


@pytest.fixture
def keyless(settings: Settings) -> Iterator[Farm]:
    with farming(settings.model_copy(update={"secret_keys_file": None})) as farm:
        yield farm


def test_without_a_sealing_key_the_refusal_says_why(keyless: Farm) -> None:
    answer = keyless.client.post(f"{HOOKS}/", json={"url": URL})

    assert (answer.status_code, slug(answer)) == (409, "sealing-unconfigured")
    assert "BOTFARM_SECRET_KEYS_FILE" in answer.json()["detail"]


def test_no_log_line_of_the_api_holds_a_secret_or_a_url(process: ApiProcess) -> None:
    process.start()
    with httpx.Client(base_url=process.url, timeout=patience.limit(30)) as client:
        made = client.post(f"{HOOKS}/", json={"url": URL}).json()
        rotated = client.post(f"{HOOKS}/{made['id']}/rotate_secret").json()
        refused = client.post(f"{HOOKS}/", json={"url": "https://user:hunter2@example.org/"})

        assert eventually(lambda: process.said().count("/webhooks/") >= 3)
        assert refused.status_code == 422
        for secret in (made["secret"][6:], rotated["secret"][6:], "tenant=7", "hunter2"):
            assert secret not in process.said() + refused.text
