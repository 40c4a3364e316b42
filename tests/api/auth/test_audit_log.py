"""The audit log: every act of an administrator and every refusal of a principal, as one line without secrets."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import HTTPException

from tests.api.farms import USERS, Farm
from tests.api.logs import lines, logging_to
from tests.patience import eventually

WEBHOOKS = "/api/v1/webhooks"
SECRET = "planted-s3cret"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logging_to(io.StringIO()) as stream:
        yield stream


def audited(log: io.StringIO, answer: httpx.Response) -> list[dict[str, Any]]:
    """The lines of this very call."""

    def found() -> list[dict[str, Any]]:
        request_id = answer.headers["X-Request-ID"]
        return [line for line in lines(log.getvalue()) if line.get("request_id") == request_id]

    assert eventually(lambda: any(line["event"] == "http_request" for line in found()))
    return [line for line in found() if line["event"] == "audit"]


def check(log: io.StringIO, answer: httpx.Response, *, what: str, on: str | None, **details: object) -> None:
    assert answer.status_code < 300, answer.text
    (line,) = audited(log, answer)
    assert line["logger"] == "audit"
    assert (line["who"], line["what"], line["on"], line["outcome"]) == ("anonymous", what, on, "done")
    assert {name: line[name] for name in details} == details


def test_acts_on_users_are_audited(farm: Farm, log: io.StringIO) -> None:
    created = farm.client.post(f"{USERS}/", json={"login": "audited", "password": SECRET})
    user_id = created.json()["id"]
    batch = farm.client.post(f"{USERS}/batch", json=[{"login": "audited"}, {"login": "audited-2", "password": SECRET}])
    changed = farm.change(user_id, password=SECRET, status="quarantined", status_reason="looked odd")
    farm.change(user_id, status="active")
    farm.acquire(user_id)
    forced = farm.release(user_id, force=True, reason="stuck job")
    farm.acquire(user_id)
    deleted = farm.delete(user_id, force="true", reason="left")

    check(log, created, what="user.create", on=user_id)
    check(log, batch, what="user.create_batch", on=None, users=[batch.json()["results"][1]["user"]["id"]])
    fields = ["password", "status", "status_reason"]
    check(log, changed, what="user.change", on=user_id, fields=fields, status="quarantined")
    check(log, forced, what="lock.force", on=user_id, reason="stuck job")
    check(log, deleted, what="user.delete", on=user_id, force_reason="left")
    assert SECRET not in log.getvalue()


def test_acts_on_webhooks_are_audited_without_the_secrets_in_their_urls(farm: Farm, log: io.StringIO) -> None:
    created = farm.client.post(f"{WEBHOOKS}/", json={"url": f"https://example.com/{SECRET}"})
    webhook_id = created.json()["id"]
    path = f"{WEBHOOKS}/{webhook_id}"
    changed = farm.client.patch(path, json={"description": "nightly"})
    rotated = farm.client.post(f"{path}/rotate_secret")
    resumed = farm.client.post(f"{path}/resume", json={"after": "latest"})
    deleted = farm.client.delete(path)

    check(log, created, what="webhook.create", on=webhook_id, host="example.com")
    check(log, changed, what="webhook.change", on=webhook_id, fields=["description"])
    check(log, rotated, what="webhook.rotate_secret", on=webhook_id)
    check(log, resumed, what="webhook.resume", on=webhook_id, after="latest")
    check(log, deleted, what="webhook.delete", on=webhook_id)
    for secret in (SECRET, created.json()["secret"], rotated.json()["secret"]):
        assert secret not in log.getvalue()
    assert {created.headers["Cache-Control"], rotated.headers["Cache-Control"]} == {"no-store"}


def test_a_call_refused_for_another_reason_is_not_audited(farm: Farm, user_id: str, log: io.StringIO) -> None:
    farm.acquire(user_id)

    kept = farm.delete(user_id)
    bad = farm.client.post(f"{USERS}/", json={"login": ""})
    released = farm.release(user_id)

    assert (kept.status_code, bad.status_code, released.status_code) == (409, 422, 200)
    assert [audited(log, answer) for answer in (kept, bad, released)] == [[], [], []]


def test_a_release_by_another_principal_is_audited_on_the_fast_route(
    farm: Farm, user_id: str, log: io.StringIO
) -> None:
    farm.acquire(user_id)
    farm.execute("UPDATE users SET lock_principal = 'somebody' WHERE id = :user_id", user_id=user_id)

    refused = farm.release(user_id)

    assert refused.status_code == 403
    (line,) = audited(log, refused)
    assert line["what"] == f"POST {USERS}/{{user_id}}/release_lock"
    assert (line["on"], line["outcome"], line["level"]) == ({"user_id": user_id}, "forbidden", "warning")


@pytest.mark.parametrize(("status", "outcome"), [(401, "unauthenticated"), (403, "forbidden")])
def test_a_call_refused_because_of_its_principal_is_logged_and_counted(
    served: Farm, log: io.StringIO, status: int, outcome: str
) -> None:
    async def refuse() -> None:
        raise HTTPException(status)

    served.app.add_api_route("/closed/{door}", refuse)
    headers = {"Authorization": f"Bearer {SECRET}"}

    refused = served.client.get("/closed/front", headers=headers)

    (line,) = audited(log, refused)
    assert (line["what"], line["on"], line["outcome"]) == ("GET /closed/{door}", {"door": "front"}, outcome)
    assert SECRET not in log.getvalue()
    counted = f'botfarm_audit_total{{outcome="{outcome}",what="GET /closed/{{door}}"}} 1.0'
    assert counted in served.client.get("/metrics").text


def test_acts_are_counted_by_kind(served: Farm) -> None:
    for _ in range(3):
        served.new_user()

    assert 'botfarm_audit_total{outcome="done",what="user.create"} 3.0' in served.client.get("/metrics").text
