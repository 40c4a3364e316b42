"""What one process takes on: bounds that hold before anything of a request is looked at, on every way.

The limits of a request's parts come from the longest that this API has a use for, with room to spare. A body must have
come within 10 s: whoever sends slower holds memory and a connection for nothing. Slow headers never reach an app; see
docs/proxy.md.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastapi import HTTPException
from limits import RateLimitItem
from limits import parse as parse_rate
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth.key_lookup import SCHEME
from api.http import errors

HEADERS_MOST_BYTES = 32_768
QUERY_MOST_BYTES = 8_192
PATH_MOST_BYTES = 8_192
BODY_SECONDS = 10.0
RETRY_AFTER_MOST = 60
KNOWN_KEYS_MOST = 10_000
JUDGE = "botfarm.judge"  # where in the ASGI scope the gate finds whom to tell whether a key is in force
STREAMS = "/events/stream"
# Asked by orchestrators and Prometheus: a process that is busy is neither dead nor silent.
ALWAYS_ANSWERED = frozenset({"/health", "/livez", "/readyz", "/metrics"})
ANNOUNCE_A_BODY = (b"content-length", b"transfer-encoding")
CLOSE = {"Connection": "close"}


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


class Limits:
    """Refuses what is too large, too slow, too often or too much at once.

    `open_most` calls may be open at once, those that wait in line and event streams included, and half of it may be
    streams. `rate` is how often one caller may call this process; None is as often as it likes. Where there are keys
    (`by_key`) a caller is told by its key, and as long as that is not known to be good by its address too: see `Rate`.
    """

    def __init__(
        self, app: ASGIApp, *, open_most: int, rate: RateLimitItem | None = None, by_key: bool = False
    ) -> None:
        self._app = app
        self.open = 0
        self._open_most = open_most
        self._streams = 0
        self._streams_most = max(1, open_most // 2)
        self._rate = None if rate is None else Rate(rate, by_key=by_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = _oversized(scope)
        if refusal is not None:
            await errors.answer(refusal, CLOSE)(scope, receive, send)
        elif scope["path"] in ALWAYS_ANSWERED:
            await self._serve_in_time(scope, receive, send)
        elif self._rate is not None and (seconds := self._rate.refused(scope)):
            headers = {"Retry-After": str(seconds)}
            await errors.answer(_too_often(scope["path"]), headers)(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_stream = scope["path"].endswith(STREAMS)
        if self.open >= self._open_most or (is_stream and self._streams >= self._streams_most):
            await errors.answer(*errors.overloaded(scope["path"]))(scope, receive, send)
            return
        self.open += 1
        self._streams += is_stream
        try:
            await self._serve_in_time(scope, receive, send)
        finally:
            self.open -= 1
            self._streams -= is_stream

    async def _serve_in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, in_time(scope, receive), send)
        except _TooSlowError as error:  # FastAPI answers it by itself, where it reads the body
            await errors.answer_to(error, instance=scope["path"])(scope, receive, send)


class Rate:
    """Counts the calls of each caller in windows of fixed length, in this process alone.

    Without keys, or without one presented, what counts is the address. A key that was in force when it was last judged
    here has a rate of its own, and nothing else counts. Any other counts by its address first, whatever it is, and then
    by itself: so whoever makes up keys has one rate for all of them, and nobody looks a key up for a call beyond it.
    What a key has counted by its address is given back once it is let in: good keys that come anew, after a restart all
    of them, leave the address they share as it was. Only as many may be on their way in at once as one caller may call.
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


class _TooSlowError(HTTPException):
    def __init__(self) -> None:
        super().__init__(408, f"The body did not come within {BODY_SECONDS:.0f} s.", CLOSE)


def in_time(scope: Scope, receive: Receive) -> Receive:
    """A `receive` that raises HTTPException 408 when the body is late; what comes after the body has all the time."""
    for name, value in scope["headers"]:
        if name in ANNOUNCE_A_BODY and value != b"0":
            break
    else:
        return receive
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    complete = False

    async def receive_in_time() -> Message:
        nonlocal complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise _TooSlowError from None
        complete = not message.get("more_body", False)
        return message

    return receive_in_time


def _oversized(scope: Scope) -> Mapping[str, Any] | None:
    """The problem of a request that is too large before its body, if it is."""
    path = scope["path"]
    if len(scope["query_string"]) > QUERY_MOST_BYTES or len(scope["raw_path"] or b"") > PATH_MOST_BYTES:
        detail = f"The path and the query have {QUERY_MOST_BYTES // 1024} KiB each: send less."
        return errors.problem(414, "uri-too-long", "URI Too Long", detail, path[:PATH_MOST_BYTES])
    size = 0
    for name, value in scope["headers"]:  # a plain loop: this is asked of every call
        size += len(name) + len(value)
    if size > HEADERS_MOST_BYTES:
        detail = f"The headers are larger than {HEADERS_MOST_BYTES // 1024} KiB: send less."
        return errors.problem(431, "headers-too-large", "Request Header Fields Too Large", detail, path)
    return None


def _too_often(path: str) -> Mapping[str, Any]:
    detail = "More calls than one caller may make in this time: nothing was done, ask again after Retry-After."
    return errors.problem(429, "rate-limited", "Too many calls", detail, path)
