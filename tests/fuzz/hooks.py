"""What Schemathesis does around every call; loaded by its command line, not by pytest."""

import contextlib
import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response

PLANTED = "hunter2-planted"
TAKES_PASSWORDS = ("/api/v1/users/", "/api/v1/users/batch", "/api/v1/users/{user_id}")
GIVES_PASSWORDS = ("/api/v1/users/acquire_lock", "/api/v1/users/{user_id}/acquire_lock")
WAIT_MOST_SECONDS = 1
WAIT_ALLOWED_SECONDS = 60

granted: deque[dict[str, Any]] = deque(maxlen=8)  # the newest of users whose lock was taken


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """Plant a password wherever one was made up, use a lease that lives now and then, and wait a second at most."""
    for fields in (*_objects(case.query), *_objects(case.body)):
        _hurry(fields)
        if fields.get("password") and case.operation.path in TAKES_PASSWORDS:
            fields["password"] = _planted(fields["password"])
    if "user_id" in case.path_parameters and granted and hash(str(case.path_parameters)) % 2:
        _use_a_lease(case, granted[hash(str(case.body)) % len(granted)])


@schemathesis.hook
def after_call(_context: HookContext, case: Case[Any], response: Response) -> None:
    if case.operation.path in GIVES_PASSWORDS and response.status_code == 200:
        body = json.loads(response.content)
        granted.extend(body.get("users", [body]))


@schemathesis.check
def no_password_comes_back(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """A planted password stands in no answer but that of a granted acquire, and there in its own field only."""
    body = response.content.decode(errors="replace")
    if PLANTED in body and case.operation.path in GIVES_PASSWORDS and response.status_code == 200:
        body = json.dumps(_without_passwords(json.loads(body)))
    assert PLANTED not in body, "an answer repeats a planted password"


def _objects(part: object) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
    elif isinstance(part, list):
        yield from (row for row in part if isinstance(row, dict))


def _hurry(fields: dict[str, Any]) -> None:
    """Nobody frees what a call waits for. What is out of bounds stays so."""
    with contextlib.suppress(KeyError, TypeError):
        if WAIT_MOST_SECONDS < fields["wait_seconds"] <= WAIT_ALLOWED_SECONDS:
            fields["wait_seconds"] = WAIT_MOST_SECONDS


def _use_a_lease(case: Case[Any], user: dict[str, Any]) -> None:
    """Ask about a user that there is; what is made up never hits a lease that lives."""
    case.path_parameters["user_id"] = user["id"]
    for fields in _objects(case.body):
        if isinstance(fields.get("lease_id"), str):
            fields["lease_id"] = user["lease_id"]


def _planted(password: object) -> object:
    """The planted password, wrapped as wrongly as what was made up."""
    if isinstance(password, list):
        return [PLANTED]
    return {PLANTED: PLANTED} if isinstance(password, dict) else PLANTED


def _without_passwords(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_passwords(each) for name, each in value.items() if name != "password"}
    return [_without_passwords(each) for each in value] if isinstance(value, list) else value
