"""Requests to receivers that strangers have chosen: bounded in time and size, and with nothing shared between them.

A client is for one webhook and one run. Its connection is its own, so that no receiver can leave an answer behind for
another webhook, not even at the same origin. Nothing is followed, stored or taken from the environment: there are no
redirects, cookies, proxies, or TLS sessions to resume. What clients share is read only: the guard and the TLS settings.
"""

import ssl
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Self

import certifi
import h11

from domain.webhooks.addresses import Network
from worker.webhooks.exchanges import Connection, Reply, Target
from worker.webhooks.guarded_sockets import Deadline, ForbiddenAddress, Guard, Resolve, by_system, encrypted

TIMEOUT_SECONDS = 15.0


class Outbound:
    """Makes clients; keeps no connection."""

    def __init__(
        self,
        *,
        allowed: Sequence[Network] = (),
        resolve: Resolve = by_system,
        timeout_seconds: float = TIMEOUT_SECONDS,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = Guard(allowed=allowed, resolve=resolve)
        self._timeout_seconds = timeout_seconds
        self._given_context = ssl_context

    def client(self) -> "Client":
        return Client(self)

    def connect(self, target: Target, *, deadline: Deadline) -> Connection:
        """A new connection to the target's origin."""
        connected = self._guard.connect(target.host, target.port, deadline=deadline)
        if target.scheme == "https":
            connected = encrypted(connected, context=self._context, host=target.host, deadline=deadline)
        return Connection(connected, origin=target.origin)

    def deadline(self) -> Deadline:
        return Deadline(self._timeout_seconds)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Made once, for that takes 35 ms: the machine's certificates, and certifi's where a machine has none."""
        if self._given_context is not None:
            return self._given_context
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        context.set_alpn_protocols(["http/1.1"])
        return context


class Client:
    """Sends the POST requests of one webhook, one at a time, over a connection that is kept between them."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._kept: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def post(self, url: str, *, headers: Mapping[str, str], content: bytes) -> Reply:
        """Whatever happens out there is a reply; only a defect of ours is raised."""
        began = time.monotonic()
        reply = Reply()
        try:
            self._post(url, headers, content, reply)
        except ForbiddenAddress:
            reply.error = "forbidden-address"
        except TimeoutError:
            reply.error = "timeout"
        except OSError as error:
            reply.error = _described("unreachable", error)
        except h11.RemoteProtocolError as error:
            reply.error = _described("bad-answer", error)
        except (ValueError, h11.LocalProtocolError) as error:
            reply.error = _described("bad-url", error)
        reply.seconds = time.monotonic() - began
        return reply

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _post(self, url: str, headers: Mapping[str, str], content: bytes, reply: Reply) -> None:
        target, deadline = Target.of(url), self._outbound.deadline()
        if self._kept is not None and not self._kept.ready(target):
            self.close()
        connection = self._kept or self._outbound.connect(target, deadline=deadline)
        self._kept = connection
        try:
            connection.post(target, headers=headers, content=content, reply=reply, deadline=deadline)
        finally:
            if not connection.reusable:
                self.close()


def _described(kind: str, error: Exception) -> str:
    return f"{kind}: {str(error)[:200]}" if str(error) else kind
