"""What is said of each refusal: one table from what is wrong to the status, words and extra fields of its answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from domain import errors
from domain.errors import Refusal
from domain.timestamps import utc


def _nothing(_refusal: Any) -> dict[str, Any]:  # noqa: ANN401  -- any refusal of the table
    return {}


@dataclass(frozen=True, slots=True)
class Problem:
    """The answer to one kind of refusal; `members` are its extra fields, `retry_after` is in seconds."""

    status: int
    slug: str
    title: str
    detail: Callable[[Any], str]
    members: Callable[[Any], Mapping[str, Any]] = _nothing
    retry_after: Callable[[Any], float] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def _plain(sentence: str) -> Callable[[Any], str]:
    return lambda _refusal: sentence


def _remaining(refusal: Any) -> float:  # noqa: ANN401  -- LockHeld or CoolingDown
    return float(refusal.retry_after_seconds)


def _soon(_refusal: Refusal) -> float:
    return 1.0


def _lost(lost: errors.LeaseLost) -> str:
    if lost.reason == "unknown":
        return "This user is not known under this lease: acquire it anew."
    return f"This lease ended ({lost.reason}): stop using the user and acquire it anew."


def _held_by_another(refusal: errors.NotLockHolder) -> str:
    if refusal.request_id is None:
        return f"The lock is held by {refusal.owner}: use the key that acquired it, or force and a reason as an admin."
    return (
        f"The request was granted to {refusal.owner}: use the key that made it,"
        " or end it as an admin with force=true and a reason."
    )


TABLE: Mapping[type[Refusal], Problem] = {
    errors.UserNotFound: Problem(
        404,
        "user-not-found",
        "No such user",
        lambda r: f"There is no user {r.user_id}.",
        lambda r: {"user_id": r.user_id},
    ),
    errors.LoginTaken: Problem(
        400,
        "login-taken",
        "Login taken",
        _plain("A user with this login exists already: choose another login."),
        lambda r: {"login": r.login},
    ),
    errors.LockHeld: Problem(
        409,
        "lock-held",
        "User is locked",
        lambda r: f"The lock is held by {r.owner} until {utc(r.expires_at)}: ask again then.",
        lambda r: {"user_id": r.user_id, "owner": r.owner, "expires_at": r.expires_at},
        retry_after=_remaining,
    ),
    errors.CoolingDown: Problem(
        409,
        "cooling-down",
        "User is cooling down",
        lambda r: f"The last lock expired without a release; the user rests until {utc(r.available_at)}.",
        lambda r: {"user_id": r.user_id, "available_at": r.available_at},
        retry_after=_remaining,
    ),
    errors.LineAhead: Problem(
        409,
        "line-ahead",
        "User is kept for somebody in line",
        _plain("The user is free, but others wait in line for it: ask with wait_seconds to join them."),
        lambda r: {"user_id": r.user_id},
        retry_after=_soon,
    ),
    errors.LineFull: Problem(
        503,
        "line-full",
        "The waiting line is full",
        _plain("Nothing was done: ask again later, or without wait_seconds."),
        retry_after=_soon,
    ),
    errors.NoUserFree: Problem(
        409,
        "no-user-free",
        "No user is free",
        lambda r: f"Enough users match, but too few are free: ask again, with request_id {r.request_id}.",
        lambda r: {"request_id": r.request_id, "position": r.position},
        retry_after=_remaining,
    ),
    errors.NoMatchingUser: Problem(
        404,
        "no-matching-user",
        "No such users",
        lambda r: f"{r.count} asked for, but only {r.matching} active user(s) match: ask for less, or for others.",
        lambda r: {"count": r.count, "matching": r.matching},
    ),
    errors.RequestEnded: Problem(
        409,
        "request-ended",
        "Request is over",
        _plain("All leases of this request have ended: make a new request, with another request_id."),
        lambda r: {"request_id": r.request_id},
    ),
    errors.RequestIdReused: Problem(
        409,
        "request-id-reused",
        "Request id was used for something else",
        _plain("This request_id was used with other parameters: make a new one for every new request."),
        lambda r: {"request_id": r.request_id},
    ),
    errors.RequestNotFound: Problem(
        404,
        "request-not-found",
        "No such request",
        lambda r: f"There is no request {r.request_id}: it was cancelled, or nobody came back to it.",
        lambda r: {"request_id": r.request_id},
    ),
    errors.UserLocked: Problem(
        409,
        "user-locked",
        "User is locked",
        lambda r: f"The lock is held by {r.owner} until {utc(r.expires_at)}: wait, or delete with force and a reason.",
        lambda r: {"user_id": r.user_id, "owner": r.owner, "expires_at": r.expires_at},
    ),
    errors.UserQuarantined: Problem(
        409,
        "user-quarantined",
        "User is quarantined",
        _plain("The user is out of service until it is set active again: take another."),
        lambda r: {"user_id": r.user_id, "status_reason": r.status_reason},
    ),
    errors.LeaseLost: Problem(
        409,
        "lease-lost",
        "Lease lost",
        _lost,
        lambda r: {
            "user_id": r.user_id,
            "reason": r.reason,
            "ended_at": r.ended_at,
            "owner": r.owner,
            "note": r.note,
        },
    ),
    errors.NotLockHolder: Problem(
        403,
        "not-lock-holder",
        "Not the lock's holder",
        _held_by_another,
        lambda r: {"user_id": r.user_id, "owner": r.owner, "request_id": r.request_id},
    ),
    errors.LifetimeExceeded: Problem(
        409,
        "lifetime-exceeded",
        "Lease is too old",
        lambda r: f"A lease may live {r.lifetime_max_seconds:.0f} s in all, renewals included: release and acquire.",
        lambda r: {"user_id": r.user_id, "expires_at": r.expires_at},
    ),
    errors.CursorMalformed: Problem(
        400,
        "cursor-malformed",
        "Not a cursor",
        _plain("Pass a cursor as an earlier answer gave it, or leave it out to begin at the start."),
    ),
    errors.CursorTooOld: Problem(
        410,
        "cursor-too-old",
        "Events are gone",
        lambda r: f"The events after this cursor are no longer kept: read on from {r.oldest}.",
        lambda r: {"oldest": r.oldest},
    ),
    errors.HistoryTooOld: Problem(
        410,
        "history-too-old",
        "Events are gone",
        lambda r: f"The events that would tell are no longer kept: the oldest one is of {utc(r.since)}.",
        lambda r: {"since": utc(r.since)},
    ),
    errors.CursorUnknown: Problem(
        409,
        "cursor-unknown",
        "Cursor of another history",
        lambda r: f"This history never gave out that cursor: take stock anew, then read on from {r.latest}.",
        lambda r: {"latest": r.latest},
    ),
    errors.SealingUnconfigured: Problem(
        409,
        "sealing-unconfigured",
        "Secrets cannot be stored",
        _plain("No sealing key is configured: set BOTFARM_SECRET_KEYS_FILE; without, users have no password."),
    ),
    errors.SealBroken: Problem(
        500,
        "password-unreadable",
        "Stored password does not open",
        _plain(
            "It was altered or its sealing key is gone: an operator must look. What this call locked is given back."
        ),
    ),
    errors.WebhookNotFound: Problem(
        404,
        "webhook-not-found",
        "No such webhook",
        lambda r: f"There is no webhook {r.webhook_id}.",
        lambda r: {"webhook_id": r.webhook_id},
    ),
    errors.TooManyWebhooks: Problem(
        409,
        "too-many-webhooks",
        "Too many webhooks",
        lambda r: f"There may be {r.webhooks_most} webhooks at once (BOTFARM_WEBHOOKS_MOST): delete one first.",
        lambda r: {"webhooks_most": r.webhooks_most},
    ),
    errors.DeliveryNotFound: Problem(
        404,
        "delivery-not-found",
        "No such delivery",
        lambda r: f"This webhook has no delivery {r.delivery_id}: the newest are kept.",
        lambda r: {"delivery_id": r.delivery_id},
    ),
    errors.EventGone: Problem(
        410,
        "event-gone",
        "Event is gone",
        lambda r: f"The event {r.event_id} is no longer kept.",
        lambda r: {"event_id": r.event_id},
    ),
    errors.AddressForbidden: Problem(
        422,
        "address-forbidden",
        "Address is not public",
        lambda r: f"Webhooks go to public addresses, and {r.host} is none: see BOTFARM_WEBHOOK_ALLOW_NETWORKS.",
        lambda r: {"host": r.host},
    ),
    errors.Unauthenticated: Problem(
        401,
        "unauthenticated",
        "Not authenticated",
        _plain("This call needs an API key that is in force: Authorization: Bearer bf_…"),
        headers={"WWW-Authenticate": "Bearer"},
    ),
    errors.Forbidden: Problem(403, "forbidden", "Forbidden", _plain("This API key may not do that.")),
    errors.TooManyLocks: Problem(
        429,
        "too-many-locks",
        "Too many locks at once",
        lambda r: f"This API key may hold {r.locks_most} lock(s) at once, those it waits for included: release some.",
        lambda r: {"locks_most": r.locks_most},
        retry_after=_soon,
    ),
    errors.KeyNotFound: Problem(
        404,
        "key-not-found",
        "No such key",
        lambda r: f"There is no key {r.key_id}, or it is revoked.",
        lambda r: {"key_id": r.key_id},
    ),
    errors.KeyNameTaken: Problem(
        409,
        "key-name-taken",
        "Key name taken",
        _plain("A key of this name is in force: revoke it first, or rotate it to go on under its name."),
        lambda r: {"name": r.name},
    ),
    errors.DatabaseUnavailable: Problem(
        503,
        "unavailable",
        "Database unavailable",
        _plain("Postgres did not answer in time: ask again, with the same lease_id if one was sent."),
        retry_after=_soon,
    ),
    errors.Overloaded: Problem(
        503,
        "overloaded",
        "Too many requests wait",
        _plain("Nothing was done: ask again in a moment."),
        retry_after=_soon,
    ),
}
