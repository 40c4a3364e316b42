"""What a client asks of the API, and what it makes of the answer: `python -m demo.clients` uses it call by call."""

import time
from dataclasses import dataclass
from typing import Any

import httpx

from demo.journals import Entry, Outcome, Verb

OK, CONFLICT = 200, 409
PROBLEM = "urn:botfarm:problem:"
# Refusals that a client must be ready for: somebody else has the user, or nobody may.
REFUSALS = frozenset({"lock-held", "cooling-down", "line-ahead", "user-quarantined"})
DONE: dict[str, Outcome] = {"acquire": "acquired", "renew": "renewed", "release": "released"}
Answer = tuple[Outcome, dict[str, Any], str]  # what came of it, the user as told, and what is wrong with that
PATIENCE_SECONDS = 10.0
KEEPALIVE_SECONDS = 3.0  # less than the server keeps an idle connection, or a call may meet its end


@dataclass(frozen=True, slots=True)
class Call:
    """One request about one user. `lease` is "" where the server is to choose it.

    Of a lease in hand: `token` is what every answer must carry, `valid_until` the moment in monotonic seconds before
    which it cannot have lapsed, `lapsed` whether it must have by now, `repeated` whether this very call was answered
    before.
    """

    verb: Verb
    user: str
    lease: str = ""
    ttl_seconds: int = 0
    token: int = 0
    valid_until: float = 0.0
    lapsed: bool = False
    repeated: bool = False

    def body(self, owner: str) -> dict[str, Any]:
        fields: dict[str, Any] = {"lease_id": self.lease} if self.lease else {}
        if self.ttl_seconds:
            fields["ttl_seconds"] = self.ttl_seconds
        if self.verb == "acquire":
            fields["owner"] = owner
        return fields


class Api:
    """The API as one client sees it. No call raises: what went wrong is in the entry, as `error`."""

    def __init__(self, url: str, *, owner: str) -> None:
        limits = httpx.Limits(keepalive_expiry=KEEPALIVE_SECONDS)
        self._http = httpx.Client(base_url=f"{url}/api/v1/users/", timeout=PATIENCE_SECONDS, limits=limits)
        self._owner = owner

    def ask(self, call: Call) -> Entry:
        sent = time.monotonic()
        outcome, body, detail = self._answer(call)
        return Entry(
            client=self._owner,
            call=call.verb,
            outcome=outcome,
            user=call.user,
            lease=body.get("lease_id", call.lease),
            sent=sent,
            answered=time.monotonic(),
            token=(body.get("lock") or {}).get("token", call.token),
            version=body.get("lock_version", 0),
            ttl_seconds=call.ttl_seconds,
            detail=detail,
        )

    def _answer(self, call: Call) -> Answer:
        try:
            response = self._http.post(f"{call.user}/{call.verb}_lock", json=call.body(self._owner))
            return judge(call, response, answered=time.monotonic())
        except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
            return "error", {}, f"{type(error).__name__}: {error}"


def judge(call: Call, response: httpx.Response, *, answered: float) -> Answer:
    """Raises KeyError, TypeError or ValueError for an answer of another shape than any of ours."""
    body: dict[str, Any] = response.json()
    if response.status_code == OK:
        wrong = _wrong(call, body)
        return ("error", body, wrong) if wrong else (_done(call), body, "")
    slug = str(body.get("type", "")).removeprefix(PROBLEM)
    if response.status_code == CONFLICT and _expected(call, slug, body, answered=answered):
        return _refused(call, slug), {}, ""
    return "error", {}, f"{response.status_code} {slug} {body.get('reason', '')}".strip()


def _done(call: Call) -> Outcome:
    return "again" if call.repeated else DONE[call.verb]


def _wrong(call: Call, body: dict[str, Any]) -> str:
    """What a 200 tells that cannot be, "" for nothing."""
    if call.lapsed and not (call.verb == "release" and call.repeated):
        return f"{call.verb} went well after the lease had lapsed"
    if call.verb == "release":
        return "" if body["released"] is not call.repeated else f"released is {body['released']}"
    if call.lease and body["lease_id"] != call.lease:
        return "another lease was answered than asked for"
    if call.token and body["lock"]["token"] != call.token:
        return f"token {body['lock']['token']} was answered for the lease of token {call.token}"
    return ""


def _expected(call: Call, slug: str, body: dict[str, Any], *, answered: float) -> bool:
    """Whether a client must be ready for this refusal."""
    if slug == "lease-lost":
        # The row remembers one ended lease: a repeated release may meet a user that others have used since.
        forgotten = call.verb == "release" and call.repeated and body.get("reason") == "unknown"
        return forgotten or (bool(call.token) and answered >= call.valid_until)
    return slug in REFUSALS and call.verb == "acquire" and not call.token


def _refused(call: Call, slug: str) -> Outcome:
    if slug != "lease-lost":
        return "refused"
    return "again" if call.verb == "release" and call.repeated else "lapsed"
