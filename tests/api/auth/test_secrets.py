"""A password that was sent comes back in no error, and stands in no line of the log."""

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests import patience
from tests.api.farms import NOBODY, USERS
from tests.api.servers import ApiProcess
from tests.patience import eventually

PLANTED = "hunter2-planted"
LEASE = "facade00-0000-4000-8000-00000000cafe"

OBJECTS: list[Any] = [
    {"login": PLANTED + "\0", "password": PLANTED},
    {"login": "", "password": PLANTED},
    {"login": "a", "password": [PLANTED]},
    {"login": "a", "password": {PLANTED: PLANTED}},
    {"login": "a", "password": PLANTED * 200},
    {"login": "a", "password": PLANTED, "env": PLANTED.upper()},
    {"login": "a", "password": PLANTED, "project_id": PLANTED},
    {"login": "a", "password": PLANTED, "labels": {"a": [PLANTED]}},
    {"login": "a", "passwrd": PLANTED},
    {"login": "a", "user": {"password": PLANTED}},
    {"login": "taken", "password": PLANTED},
    {"password": PLANTED},
    [PLANTED],
    PLANTED,
]
TEXTS = [
    f'{{"login": "a", "password": "{PLANTED}"',
    f"{{'password': '{PLANTED}'}}",
    f'{{"login": "a", "password": "{PLANTED}\\ud800"}}',
    f'{{"login": "a", "password": "{PLANTED}\\x"}}',
    f"login=a&password={PLANTED}",
    PLANTED,
]
LOCKING = [{"password": PLANTED}, {"owner": [PLANTED]}, {"lease_id": PLANTED}, {"metadata": {"a": [PLANTED]}}, PLANTED]
PATHS = [f"{USERS}/{NOBODY}/{verb}" for verb in ("acquire_lock", "renew_lock", "release_lock")]


@pytest.fixture
def client(process: ApiProcess) -> httpx.Client:
    process.start()
    client = httpx.Client(base_url=process.url, timeout=patience.limit(30))
    client.post(f"{USERS}/", json={"login": "taken"}).raise_for_status()
    return client


def bad_answers(client: httpx.Client) -> list[httpx.Response]:
    """What is answered to many wrong ways of sending a password."""
    as_json = {"Content-Type": "application/json"}
    return [
        *(client.post(f"{USERS}/", json=body) for body in OBJECTS),
        *(client.post(f"{USERS}/", content=json.dumps(body)) for body in OBJECTS),
        *(client.post(f"{USERS}/", content=body, headers=as_json) for body in TEXTS),
        client.post(f"{USERS}/", data={"login": "a", "password": PLANTED}),
        *(client.post(path, json=body) for path in PATHS for body in LOCKING),
        *(client.put(f"{USERS}/", json=body) for body in OBJECTS[:2]),
        client.get(f"{USERS}/", params={"limit": PLANTED}),
        client.get(f"{USERS}/", params={"after": PLANTED}),
        client.get(f"{USERS}/", params={"password": PLANTED}),
        client.post(f"{USERS}/", params={"password": PLANTED}, json={"login": "a"}),
    ]


def test_no_error_body_repeats_a_password(client: httpx.Client, process: ApiProcess) -> None:
    answers = bad_answers(client)
    batch = client.post(f"{USERS}/batch", json=OBJECTS)

    assert {answer.status_code for answer in answers} <= {400, 405, 422}
    assert [answer.text for answer in [*answers, batch] if PLANTED in answer.text] == []
    assert PLANTED not in process.said()
    client.close()


def test_no_log_line_holds_a_password_or_a_lease(client: httpx.Client, process: ApiProcess) -> None:
    user_id = client.post(f"{USERS}/", json={"login": "logged", "password": PLANTED}).json()["id"]
    for verb in ("acquire_lock", "renew_lock", "release_lock", "release_lock"):
        client.post(f"{USERS}/{user_id}/{verb}", json={"lease_id": LEASE}).raise_for_status()
    client.get(f"{USERS}/{quote(PLANTED)}")

    assert eventually(lambda: process.said().count("release_lock") == 2)
    assert PLANTED not in process.said()
    assert LEASE not in process.said()
    client.close()


def test_not_even_a_defect_tells_a_password(client: httpx.Client, process: ApiProcess) -> None:
    """The table is gone: the statement fails with the password's row among its values."""
    engine = create_engine(process.settings.database_url)
    with engine.begin() as conn:
        conn.execute(text("ALTER TABLE outbox RENAME TO elsewhere"))
    engine.dispose()

    created = client.post(f"{USERS}/", json={"login": "defect", "password": PLANTED, "labels": {"a": "b"}})
    batch = client.post(f"{USERS}/batch", json=[{"login": "defect", "password": PLANTED}])

    assert (created.status_code, batch.status_code) == (500, 500)
    assert eventually(lambda: process.said().count("request_failed") == 2)
    for body in (created.text, batch.text, process.said()):
        assert PLANTED not in body
    for body in (created.text, batch.text):
        assert "Traceback" not in body
        assert "outbox" not in body
    client.close()
