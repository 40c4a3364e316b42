"""How often one caller may call one process."""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from limits import RateLimitItem
from limits import parse as parse_rate
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.types import Scope

from api.auth.key_lookup import SCHEME
from api.http import errors

RETRY_AFTER_MOST = 60
KNOWN_KEYS_MOST = 10_000
JUDGE = "botfarm.judge"  # where in the ASGI scope the gate finds whom to tell whether a key is in force


def rate_of(text: str) -> RateLimitItem | None:
    """A rate as in `600/second` or `10000 per 10 minutes`; None for an empty text. Raises ValueError."""
    if not text:
        return None
    try:
        rate = parse_rate(text)
    except ValueError:
        rate = None
    if rate is None or rate.amount < 1:
        raise ValueError("BOTFARM_RATE_LIMIT is no rate: 600/second, 10000/minute")
    return rate


class Rate:
    """Counts the calls of each caller in windows of fixed length, in this process alone.

    Without keys, or without one presented, what counts is the address. A key that was in force when it was last judged
    here has a rate of its own, and nothing else counts. Any other counts by its address first, whatever it is, and then
    by itself: so a client that invents keys has one rate for all of them, and no key is looked up for a call beyond it.
    What a key has counted by its address is given back once it is let in: good keys that come again, after a restart
    all of them, leave the address they share as it was. Only as many may be on their way in at once as one caller may
    call.
    """

    def __init__(self, rate: RateLimitItem, *, by_key: bool) -> None:
        self._rate = rate
        self._by_key = by_key
        self._storage = MemoryStorage()
        self._limiter = FixedWindowRateLimiter(self._storage)
        self._known: dict[str, None] = {}  # the oldest first; none but good keys come in, so none pushes them out

    def refused(self, scope: Scope) -> int:
        """The whole seconds after which to ask again; 0 when the call may be made."""
        address = str((scope.get("client") or ("unknown",))[0])
        key = self._key(scope) if self._by_key else None
        if key is None:
            return self._count(address)
        if key in self._known:
            scope[JUDGE] = partial(self._judge_known, key)
            return self._count(key)
        scope[JUDGE] = partial(self._judge_new, key, address)
        return self._count(address) or self._count(key)

    def _count(self, caller: str) -> int:
        if self._limiter.hit(self._rate, caller):
            return 0
        ends = self._limiter.get_window_stats(self._rate, caller).reset_time
        left = ends - time.time()  # noqa: TID251  -- the library tells its windows by this clock; no lock depends on it
        return min(RETRY_AFTER_MOST, max(1, math.ceil(left)))

    def _key(self, scope: Scope) -> str | None:
        """Never the key itself: what is counted is kept. One key is one caller, in whatever letters its scheme is."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                return f"key {hash(value[len(SCHEME) :].strip())}"
        return None

    def _judge_known(self, key: str, *, good: bool) -> None:
        if not good:
            self._known.pop(key, None)

    def _judge_new(self, key: str, address: str, *, good: bool) -> None:
        if not good:
            return
        self._storage.decr(self._rate.key_for(address))
        self._known[key] = None
        if len(self._known) > KNOWN_KEYS_MOST:
            del self._known[next(iter(self._known))]


def judge(scope: Scope, *, good: bool) -> None:
    """The gate's verdict on the key of this call: in force or not. Without one, it stays what it was held for."""
    tell: Callable[..., None] | None = scope.get(JUDGE)
    if tell is not None:
        tell(good=good)


def too_often(path: str) -> Mapping[str, Any]:
    detail = "The rate limit of this caller is reached; nothing was done. Try again after Retry-After."
    return errors.problem(429, "rate-limited", "Rate limit exceeded", detail, path)
