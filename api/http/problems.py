"""How each refusal is answered: one table from the refusal to the status, texts and extra members of its problem.

A detail says what is wrong, then what to do.
"""

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
        return "This lease is unknown for this user. Acquire the user again."
    return f"This lease has ended ({lost.reason}). Stop using the user, then acquire it again."


def _held_by_another(refusal: errors.NotLockHolder) -> str:
    if refusal.request_id is None:
        return f"Another principal holds the lock ({refusal.owner}). Use its key, or force with a reason as an admin."
    return (
        f"The request was granted to another principal (owner {refusal.owner})."
        " Use its key, or end it as an admin with force=true and a reason."
    )


TABLE: Mapping[type[Refusal], Problem] = {
    errors.UserNotFound: Problem(
        404,
        "user-not-found",
        "User not found",
        lambda r: f"There is no user {r.user_id} that you may see. List users with GET /api/v1/users/.",
        lambda r: {"user_id": r.user_id},
    ),
    errors.LoginTaken: Problem(
        400,
        "login-taken",
        "Login taken",
        _plain("A user with this login already exists. Choose another login."),
        lambda r: {"login": r.login},
    ),
    errors.LockHeld: Problem(
        409,
        "lock-held",
        "User is locked",
        lambda r: f"{r.owner} holds the lock until {utc(r.expires_at)}. Try again then, or wait with wait_seconds.",
        lambda r: {"user_id": r.user_id, "owner": r.owner, "expires_at": r.expires_at},
        retry_after=_remaining,
    ),
    errors.CoolingDown: Problem(
        409,
        "cooling-down",
        "User is cooling down",
        lambda r: f"The last lock expired without a release. Try again at {utc(r.available_at)}.",
        lambda r: {"user_id": r.user_id, "available_at": r.available_at},
        retry_after=_remaining,
    ),
    errors.LineAhead: Problem(
        409,
        "line-ahead",
        "User is reserved for a waiting request",
        _plain("The user is free, but other requests are waiting for it. Set wait_seconds to join the line."),
        lambda r: {"user_id": r.user_id},
        retry_after=_soon,
    ),
    errors.LineFull: Problem(
        503,
        "line-full",
        "The waiting line is full",
        _plain("No more requests can wait; nothing was done. Try again later, or without wait_seconds."),
        retry_after=_soon,
    ),
    errors.NoUserFree: Problem(
        409,
        "no-user-free",
        "No user is free",
        lambda r: f"Enough users match, but too few are free. Try again with request_id {r.request_id}.",
        lambda r: {"request_id": r.request_id, "position": r.position},
        retry_after=_remaining,
    ),
    errors.NoMatchingUser: Problem(
        404,
        "no-matching-user",
        "Too few users match",
        lambda r: f"The request needs {r.count} active users; {r.matching} match. Lower count, or change the filters.",
        lambda r: {"count": r.count, "matching": r.matching},
    ),
    errors.RequestEnded: Problem(
        409,
        "request-ended",
        "Request has ended",
        _plain("Every lease of this request has ended. Make a new request with a new request_id."),
        lambda r: {"request_id": r.request_id},
    ),
    errors.RequestIdReused: Problem(
        409,
        "request-id-reused",
        "Request id already used",
        _plain("This request_id was used with other parameters. Use a new request_id for each new request."),
        lambda r: {"request_id": r.request_id},
    ),
    errors.RequestNotFound: Problem(
        404,
        "request-not-found",
        "Request not found",
        lambda r: f"There is no request {r.request_id}: it was cancelled, or its place expired. Make a new request.",
        lambda r: {"request_id": r.request_id},
    ),
    errors.UserLocked: Problem(
        409,
        "user-locked",
        "User is locked",
        lambda r: f"{r.owner} holds the lock until {utc(r.expires_at)}. Wait, or delete with force=true and a reason.",
        lambda r: {"user_id": r.user_id, "owner": r.owner, "expires_at": r.expires_at},
    ),
    errors.UserQuarantined: Problem(
        409,
        "user-quarantined",
        "User is quarantined",
        _plain("The user is out of service until an admin sets it active. Use another user."),
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
        "Lock held by another principal",
        _held_by_another,
        lambda r: {"user_id": r.user_id, "owner": r.owner, "request_id": r.request_id},
    ),
    errors.LifetimeExceeded: Problem(
        409,
        "lifetime-exceeded",
        "Lease lifetime exceeded",
        lambda r: (
            f"A lease may last {r.lifetime_max_seconds:.0f} s, renewals included. Release it, then acquire again."
        ),
        lambda r: {"user_id": r.user_id, "expires_at": r.expires_at},
    ),
    errors.CursorMalformed: Problem(
        400,
        "cursor-malformed",
        "Invalid cursor",
        _plain("This is not a cursor of this service. Send one from an earlier answer, or none."),
    ),
    errors.CursorTooOld: Problem(
        410,
        "cursor-too-old",
        "Events no longer kept",
        lambda r: f"The events after this cursor are deleted. Reload your state, then continue from {r.oldest}.",
        lambda r: {"oldest": r.oldest},
    ),
    errors.HistoryTooOld: Problem(
        410,
        "history-too-old",
        "Events no longer kept",
        lambda r: f"The events of that time have been deleted. Ask for a time after {utc(r.since)}.",
        lambda r: {"since": utc(r.since)},
    ),
    errors.CursorUnknown: Problem(
        409,
        "cursor-unknown",
        "Cursor not in this history",
        lambda r: f"This database never issued this cursor. Reload your state, then continue from {r.latest}.",
        lambda r: {"latest": r.latest},
    ),
    errors.SealingUnconfigured: Problem(
        409,
        "sealing-unconfigured",
        "Secrets cannot be stored",
        _plain("No sealing key is configured. Set BOTFARM_SECRET_KEYS_FILE, or create the user without a password."),
    ),
    errors.SealBroken: Problem(
        500,
        "password-unreadable",
        "Password cannot be decrypted",
        _plain(
            "The stored password was altered, or its sealing key is missing. What this call locked is released."
            " Ask an operator to restore the key, or set a new password."
        ),
    ),
    errors.WebhookNotFound: Problem(
        404,
        "webhook-not-found",
        "Webhook not found",
        lambda r: f"There is no webhook {r.webhook_id}. List webhooks with GET /api/v1/webhooks/.",
        lambda r: {"webhook_id": r.webhook_id},
    ),
    errors.TooManyWebhooks: Problem(
        409,
        "too-many-webhooks",
        "Too many webhooks",
        lambda r: f"The limit of {r.webhooks_most} webhooks is reached (BOTFARM_WEBHOOKS_MOST). Delete one first.",
        lambda r: {"webhooks_most": r.webhooks_most},
    ),
    errors.DeliveryNotFound: Problem(
        404,
        "delivery-not-found",
        "Delivery not found",
        lambda r: f"This webhook has no delivery {r.delivery_id}; only the newest are kept. List its deliveries.",
        lambda r: {"delivery_id": r.delivery_id},
    ),
    errors.EventGone: Problem(
        410,
        "event-gone",
        "Event no longer kept",
        lambda r: f"The event {r.event_id} has been deleted by retention and cannot be sent again.",
        lambda r: {"event_id": r.event_id},
    ),
    errors.AddressForbidden: Problem(
        422,
        "address-forbidden",
        "Address is not public",
        lambda r: f"{r.host} is not a public address. Allow its network with BOTFARM_WEBHOOK_ALLOW_NETWORKS.",
        lambda r: {"host": r.host},
    ),
    errors.Unauthenticated: Problem(
        401,
        "unauthenticated",
        "Not authenticated",
        _plain("This call needs a valid API key. Send it as Authorization: Bearer bf_…"),
        headers={"WWW-Authenticate": "Bearer"},
    ),
    errors.Forbidden: Problem(
        403,
        "forbidden",
        "Forbidden",
        _plain("This API key may not make this call. Use a key with the scope and projects that it needs."),
    ),
    errors.TooManyLocks: Problem(
        429,
        "too-many-locks",
        "Too many locks at once",
        lambda r: f"This API key may hold {r.locks_most} locks at once, waiting requests included. Release some first.",
        lambda r: {"locks_most": r.locks_most},
        retry_after=_soon,
    ),
    errors.KeyNotFound: Problem(
        404,
        "key-not-found",
        "Key not found",
        lambda r: f"There is no key {r.key_id}, or it is revoked. List keys with GET /api/v1/keys/.",
        lambda r: {"key_id": r.key_id},
    ),
    errors.KeyNameTaken: Problem(
        409,
        "key-name-taken",
        "Key name taken",
        _plain("An active key has this name. Choose another name, or rotate that key."),
        lambda r: {"name": r.name},
    ),
    errors.DatabaseUnavailable: Problem(
        503,
        "unavailable",
        "Database unavailable",
        _plain("Postgres did not answer in time. Try again, with the same lease_id if you sent one."),
        retry_after=_soon,
    ),
    errors.Overloaded: Problem(
        503,
        "overloaded",
        "Server overloaded",
        _plain("Too many calls are waiting; nothing was done. Try again after Retry-After."),
        retry_after=_soon,
    ),
}
