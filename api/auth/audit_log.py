"""The audit log: principal, act, object and outcome, as one log line with the request id, and a metric."""

from collections.abc import Mapping
from uuid import UUID

from starlette.types import Scope

from api.auth.principals import SCOPE_KEY, Principal
from api.observability.metrics import Metrics
from domain import log

REFUSED = {401: "unauthenticated", 403: "forbidden"}

log_ = log.get("audit")


def note(metrics: Metrics, *, who: str, what: str, on: UUID | str | None, **details: object) -> None:
    """Record an administrator's act. `details` hold no secret: names of fields, never their values."""
    metrics.audited(what=what, outcome="done")
    log_.info("audit", who=who, what=what, on=None if on is None else str(on), outcome="done", **details)


def note_refusal(metrics: Metrics, scope: Scope, *, route: str, status: int) -> None:
    """Record a call that was refused because of its principal."""
    outcome = REFUSED[status]
    what = f"{scope['method']} {route}"
    metrics.audited(what=what, outcome=outcome)
    on = {name: str(value) for name, value in _path_params(scope).items()}
    caller: Principal | None = scope.get(SCOPE_KEY)
    log_.warning("audit", who=caller and caller.name, what=what, on=on or None, outcome=outcome)


def _path_params(scope: Scope) -> Mapping[str, object]:
    found: Mapping[str, object] = scope.get("path_params") or {}
    return found
