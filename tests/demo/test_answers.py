"""What a client takes for an answer, and what for a defect."""

from typing import Any

import httpx
import pytest

from demo.answers import Call, judge

GRANTED = {"lease_id": "L", "lock": {"token": 5}, "lock_version": 5}
RELEASED = {"released": True, "lock": None, "lock_version": 6}
UNCHANGED = {"released": False, "lock": None, "lock_version": 6}
BEFORE, AFTER = 99.0, 101.0  # the lapse at 100


def held(verb: Any, **more: bool) -> Call:
    return Call(verb, "ada", "L", 2, token=5, valid_until=100.0, **more)


def problem(slug: str, **members: str) -> dict[str, str]:
    return {"type": f"urn:botfarm:problem:{slug}", **members}


@pytest.mark.parametrize(
    ("call", "status", "body", "answered", "outcome"),
    [
        (Call("acquire", "ada"), 200, GRANTED, BEFORE, "acquired"),
        (Call("acquire", "ada", "L"), 200, GRANTED, BEFORE, "acquired"),
        (Call("acquire", "ada", "M"), 200, GRANTED, BEFORE, "error"),
        (Call("acquire", "ada"), 409, problem("lock-held"), BEFORE, "refused"),
        (Call("acquire", "ada"), 404, problem("user-not-found"), BEFORE, "error"),
        (Call("acquire", "ada"), 503, problem("overloaded"), BEFORE, "error"),
        (held("acquire", repeated=True), 200, GRANTED, BEFORE, "again"),
        (held("acquire", repeated=True), 200, GRANTED | {"lock": {"token": 6}}, BEFORE, "error"),
        (held("acquire", repeated=True), 409, problem("lock-held"), BEFORE, "error"),
        (held("acquire", repeated=True), 409, problem("lease-lost"), AFTER, "lapsed"),
        (held("renew"), 200, GRANTED, BEFORE, "renewed"),
        (held("renew"), 409, problem("lease-lost", reason="expired"), AFTER, "lapsed"),
        (held("renew"), 409, problem("lease-lost", reason="expired"), BEFORE, "error"),
        (held("renew", lapsed=True), 200, GRANTED, AFTER, "error"),
        (held("release"), 200, RELEASED, BEFORE, "released"),
        (held("release"), 200, UNCHANGED, BEFORE, "error"),
        (held("release"), 409, problem("lease-lost", reason="expired"), AFTER, "lapsed"),
        (held("release"), 409, problem("lease-lost", reason="forced"), BEFORE, "error"),
        (held("release", lapsed=True), 200, RELEASED, AFTER, "error"),
        (held("release", repeated=True), 200, UNCHANGED, BEFORE, "again"),
        (held("release", repeated=True), 200, RELEASED, BEFORE, "error"),
        (held("release", repeated=True), 409, problem("lease-lost", reason="unknown"), BEFORE, "again"),
        (held("release", repeated=True), 409, problem("lease-lost", reason="expired"), BEFORE, "error"),
    ],
)
def test_an_answer_is_judged_by_what_was_asked(
    call: Call, status: int, body: dict[str, Any], answered: float, outcome: str
) -> None:
    judged, _, detail = judge(call, httpx.Response(status, json=body), answered=answered)

    assert judged == outcome
    assert bool(detail) is (outcome == "error")
