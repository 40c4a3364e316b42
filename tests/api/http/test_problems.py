"""Every error is a problem document, and one table knows every refusal."""

import inspect
import json
import re
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from api.http.errors import document
from api.http.problems import TABLE, Problem
from domain import errors
from domain.errors import Refusal
from tests.api.farms import NOBODY, USERS, Farm

MEMBERS = {"type", "title", "status", "detail", "instance"}
SOME_DAY = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOMEBODY = uuid.UUID(NOBODY)
REFUSALS: list[Refusal] = [
    errors.UserNotFound(SOMEBODY),
    errors.LoginTaken("login"),
    errors.LockHeld(SOMEBODY, "owner", SOME_DAY, 7.2),
    errors.CoolingDown(SOMEBODY, SOME_DAY, 7.2),
    errors.UserQuarantined(SOMEBODY, None),
    errors.LeaseLost(SOMEBODY, "unknown", None, None),
    errors.LeaseLost(SOMEBODY, "forced", SOME_DAY, "owner", "note"),
    errors.NotLockHolder(SOMEBODY, "owner"),
    errors.NotLockHolder(SOMEBODY, "owner", SOMEBODY),
    errors.LifetimeExceeded(SOMEBODY, SOME_DAY, 60.0),
    errors.CursorMalformed("x"),
    errors.CursorTooOld("1-1", "1-5"),
    errors.HistoryTooOld(SOMEBODY, SOME_DAY),
    errors.CursorUnknown("9-9", "1-5"),
    errors.SealingUnconfigured(),
    errors.SealBroken(),
    errors.UserLocked(SOMEBODY, "owner", SOME_DAY),
    errors.LineAhead(SOMEBODY),
    errors.LineFull(),
    errors.NoUserFree(SOMEBODY, 3, 7.2),
    errors.NoMatchingUser(5, 2),
    errors.RequestEnded(SOMEBODY),
    errors.RequestIdReused(SOMEBODY),
    errors.RequestNotFound(SOMEBODY),
    errors.WebhookNotFound(SOMEBODY),
    errors.TooManyWebhooks(1_000),
    errors.DeliveryNotFound(7),
    errors.EventGone(SOMEBODY),
    errors.AddressForbidden("localhost"),
    errors.Unauthenticated(),
    errors.Forbidden(),
    errors.TooManyLocks(3),
    errors.KeyNotFound(SOMEBODY),
    errors.KeyNameTaken("ci"),
    errors.DatabaseUnavailable(),
    errors.Overloaded(),
]


def kinds(root: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """Every refusal the domain can raise."""
    for kind in root.__subclasses__():
        if kind.__module__.startswith("domain"):
            yield kind
        yield from kinds(kind)


def missing(table: Collection[type[Refusal]], raised: Collection[type[Refusal]]) -> set[str]:
    return {kind.__name__ for kind in raised if kind not in table}


def test_the_table_knows_every_refusal() -> None:
    declared = {each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, Refusal)}

    assert missing(TABLE, {*kinds(), *declared} - {Refusal}) == set()


def test_a_refusal_that_the_table_does_not_know_would_be_found() -> None:
    @dataclass(eq=False)
    class Forgotten(Refusal):
        pass

    assert missing(TABLE, [*kinds(), Forgotten]) == {"Forgotten"}


def test_every_row_of_the_table_is_shown_here() -> None:
    assert {type(refusal) for refusal in REFUSALS} == set(TABLE)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
def test_a_refusal_becomes_a_whole_document(refusal: Refusal) -> None:
    body, headers = document(refusal, instance="/here")

    assert set(body) >= MEMBERS
    assert body["instance"] == "/here"
    assert body["type"].removeprefix("urn:botfarm:problem:").replace("-", "").isalpha()
    assert all(isinstance(body[member], str) and body[member] for member in MEMBERS - {"status"})
    assert all(value is None or isinstance(value, str | int) for value in body.values())
    assert ("Retry-After" in headers) == (TABLE[type(refusal)].retry_after is not None)


DIALECT = re.compile(
    r"\b(told|anew|in vain|who asks|whoever|somebody|nobody|thing\(s\)|as they must be|take stock|look at)\b",
    re.IGNORECASE,
)


def badly_put(title: str, detail: str) -> list[str]:
    """What is wrong with the texts of a problem."""
    wrong = [] if len(title) <= 60 and not title.endswith(".") else [title]
    wrong += [] if detail.endswith((".", "\u2026")) and detail[0].isupper() | detail[0].isalnum() else [detail]
    return wrong + DIALECT.findall(f"{title} {detail}")


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
def test_a_title_is_short_and_a_detail_is_sentences_in_plain_words(refusal: Refusal) -> None:
    body, _ = document(refusal, instance="/here")

    assert badly_put(body["title"], body["detail"]) == []


@pytest.mark.parametrize(
    ("title", "detail"),
    [
        ("A title.", "A detail."),
        ("x" * 61, "A detail."),
        ("A title", "No full stop"),
        ("A title", "Nobody is told anew."),
        ("A title", "2 thing(s) are not as they must be."),
    ],
)
def test_negative_control_a_text_in_other_words_is_found(title: str, detail: str) -> None:
    assert badly_put(title, detail) != []


def test_the_texts_of_the_openapi_document_are_plain_words(farm: Farm) -> None:
    document = farm.client.get("/openapi.json").json()

    assert DIALECT.findall(json.dumps(document)) == []


def test_no_two_refusals_share_a_type() -> None:
    slugs = [problem.slug for problem in TABLE.values()]

    assert sorted(set(slugs)) == sorted(slugs)


def test_no_member_of_a_refusal_takes_the_place_of_a_standard_one() -> None:
    clashes: list[Problem] = [TABLE[type(r)] for r in REFUSALS if MEMBERS & set(TABLE[type(r)].members(r))]

    assert clashes == []


@pytest.mark.parametrize(
    ("left", "expected"),
    [(-5.0, "1"), (0.0, "1"), (0.001, "1"), (1.0, "1"), (1.001, "2"), (59.5, "60"), (86_400, "60")],
)
def test_retry_after_is_whole_seconds_from_1_to_60(left: float, expected: str) -> None:
    _, headers = document(errors.LockHeld(SOMEBODY, "owner", SOME_DAY, left), instance="/")

    assert headers == {"Retry-After": expected}


ASKED: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/nowhere", {}, 404, "not-found"),
    ("GET", "/api/v1/nowhere", {}, 404, "not-found"),
    ("GET", "/static/nothing.js", {}, 404, "not-found"),
    ("POST", f"{USERS}/{NOBODY}/steal_lock", {}, 404, "not-found"),
    ("GET", f"{USERS}/{NOBODY}", {}, 404, "user-not-found"),
    ("GET", f"{USERS}/{NOBODY}/acquire_lock", {}, 405, "method-not-allowed"),
    ("PUT", f"{USERS}/", {}, 405, "method-not-allowed"),
    ("DELETE", "/health", {}, 405, "method-not-allowed"),
    ("POST", f"{USERS}/", {"json": {}}, 422, "invalid-request"),
    ("GET", f"{USERS}/", {"params": {"limit": "0"}}, 422, "invalid-request"),
    ("GET", f"{USERS}/", {"params": {"after": "?"}}, 400, "cursor-malformed"),
    ("GET", "/api/v1/events", {"params": {"after": "?"}}, 400, "cursor-malformed"),
    ("GET", "/api/v1/events", {"params": {"after": "7-7"}}, 409, "cursor-unknown"),
    ("POST", f"{USERS}/", {"content": b"x" * 1_048_577}, 413, "content-too-large"),
]


@pytest.mark.parametrize(("method", "path", "more", "status", "slug"), ASKED, ids=lambda value: str(value)[:40])
def test_every_error_is_a_problem_document(
    farm: Farm, method: str, path: str, more: dict[str, Any], status: int, slug: str
) -> None:
    answer = farm.client.request(method, path, **more)

    body = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(body) >= MEMBERS
    assert (answer.status_code, body["status"]) == (status, status)
    assert body["type"] == f"urn:botfarm:problem:{slug}"
    assert body["instance"] == path


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/livez", "GET"),
        (USERS, "GET, POST"),
        (f"{USERS}/", "GET, POST"),
        (f"{USERS}/{NOBODY}", "DELETE, GET, PATCH"),
        (f"{USERS}/{NOBODY}/acquire_lock", "POST"),
        ("/api/v1/webhooks/", "GET, POST"),
    ],
)
def test_a_method_that_is_not_allowed_comes_with_all_that_are(farm: Farm, path: str, methods: str) -> None:
    answer = farm.client.put(path)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == methods


def test_an_invalid_body_is_answered_with_where_and_why_but_not_what(farm: Farm) -> None:
    answer = farm.client.post(f"{USERS}/", json={"login": 17_171_717, "colour": "mauve"})

    assert [set(error) for error in answer.json()["errors"]] == [{"loc", "msg", "type"}] * 2
    assert {tuple(error["loc"]) for error in answer.json()["errors"]} == {("body", "login"), ("body", "colour")}
    assert "17171717" not in answer.text
    assert "mauve" not in answer.text
