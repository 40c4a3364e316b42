"""A farm as a test sees it: the API over HTTP from the outside, and its database for what HTTP does not show."""

import asyncio
import contextlib
import json
import re
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import Engine, Row, text

from api.main import create_app
from api.middleware.stack import App
from api.serving.protocol import Protocol
from domain import requests
from domain.configuration.settings import Settings
from domain.events import outbox
from domain.postgres import engines
from tests import patience
from tests.api.events.cloudevents import faults_of_all
from tests.api.servers import serving

USERS = "/api/v1/users"
EVENTS = "/api/v1/events"
LINE = "/api/v1/lock_requests"
LINK = re.compile(r'<(/[^>]+)>; rel="next"')
NOBODY = "00000000-0000-4000-8000-000000000000"

LAPSE = """
UPDATE users SET locktime = locktime - shift, lock_expires_at = lock_expires_at - shift,
    available_at = available_at - shift
FROM (SELECT id, lock_expires_at - clock_timestamp() + interval '1 second' AS shift FROM users) s
WHERE users.id = s.id AND users.id = :user_id
"""
CHANGES = """
SELECT type, lock_version, data->>'reason' AS reason FROM events WHERE user_id = :user_id
UNION ALL SELECT type, lock_version, data->>'reason' FROM outbox WHERE user_id = :user_id ORDER BY lock_version
"""


def next_of(answer: httpx.Response) -> str | None:
    """Where the answer's link leads; None on the last page."""
    if "Link" not in answer.headers:
        return None
    found = LINK.fullmatch(answer.headers["Link"])
    assert found, answer.headers["Link"]
    return found[1]


@dataclass
class Farm:
    """`client` speaks to the served `app`; `engine` goes straight to its database.

    A test that spoils its database, or leaves it out of reach, says so by `spoilt`.
    """

    app: App
    settings: Settings
    client: httpx.Client
    engine: Engine
    spoilt: bool = False
    callers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(32, thread_name_prefix="caller"))

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def new_user(self, **fields: Any) -> dict[str, Any]:
        """A user that was just created, with a login of its own unless one is given."""
        answer = self.client.post(f"{USERS}/", json={"login": f"bot-{uuid.uuid4().hex}", **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def user(self, user_id: str) -> dict[str, Any]:
        return dict(self.client.get(f"{USERS}/{user_id}").json())

    def acquire(self, user_id: str, **body: Any) -> httpx.Response:
        return self.client.post(f"{USERS}/{user_id}/acquire_lock", json=body)

    def renew(self, user_id: str, **body: Any) -> httpx.Response:
        return self.client.post(f"{USERS}/{user_id}/renew_lock", json=body)

    def release(self, user_id: str, **body: Any) -> httpx.Response:
        return self.client.post(f"{USERS}/{user_id}/release_lock", json=body)

    def lock(self, user_id: str, **query: Any) -> httpx.Response:
        return self.client.get(f"{USERS}/{user_id}/lock", params=query)

    def change(self, user_id: str, **fields: Any) -> httpx.Response:
        return self.client.patch(f"{USERS}/{user_id}", json=fields)

    def delete(self, user_id: str, **query: Any) -> httpx.Response:
        return self.client.delete(f"{USERS}/{user_id}", params=query)

    def pool(self, **body: Any) -> httpx.Response:
        """Ask for any users that match."""
        return self.client.post(f"{USERS}/acquire_lock", json=body)

    def renew_all(self, **body: Any) -> httpx.Response:
        return self.client.post(f"{USERS}/renew_lock", json=body)

    def release_all(self, **body: Any) -> httpx.Response:
        return self.client.post(f"{USERS}/release_lock", json=body)

    def request(self, request_id: str) -> httpx.Response:
        return self.client.get(f"{LINE}/{request_id}")

    def cancel(self, request_id: str, **query: Any) -> httpx.Response:
        return self.client.delete(f"{LINE}/{request_id}", params=query)

    def meanwhile(self, call: Callable[..., httpx.Response], *args: Any, **body: Any) -> "Future[httpx.Response]":
        """Make the call on a thread of its own."""
        return self.callers.submit(call, *args, **body)

    def dial(self, path: str, **body: Any) -> socket.socket:
        """The bare connection of a call, to be hung up in the middle of it."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: farm\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(content)}\r\n\r\n"
        assert self.client.base_url.port
        connection = socket.create_connection(
            (self.client.base_url.host, self.client.base_url.port), timeout=patience.limit(10)
        )
        connection.sendall(head.encode() + content)
        return connection

    def hand_out(self) -> None:
        """One pass over the line, here and now: who could be granted anything was granted it when this returns."""
        with self.engine.begin() as conn:
            requests.dispatch(conn, home=None)

    def sweep_line(self) -> None:
        with self.engine.begin() as conn:
            requests.sweep(conn)

    def execute(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as conn:
            conn.execute(text(statement), values)

    def lapse(self, user_id: str) -> None:
        """Let the user's lock have ended a second ago, as if its whole life had been that much earlier."""
        self.execute(LAPSE, user_id=user_id)

    def publish(self) -> None:
        """Number every change, as the relay would."""
        moved = 1
        while moved:
            with self.engine.begin() as conn:
                moved = outbox.sequence(conn)

    def changes(self, user_id: str) -> list[str]:
        """The kinds of the user's events, in order and without gaps, numbered already or not."""
        rows = self._changes(user_id)
        assert [row.lock_version for row in rows] == list(range(1, len(rows) + 1))
        return [row.type.removeprefix("botfarm.").removesuffix(".v1") for row in rows]

    def endings(self, user_id: str) -> list[str]:
        """Why each lock of the user that was released was released, in order."""
        return [row.reason for row in self._changes(user_id) if row.type == "botfarm.lock.released.v1"]

    def _changes(self, user_id: str) -> Sequence[Row[Any]]:
        with self.engine.begin() as conn:
            return conn.execute(text(CHANGES), {"user_id": user_id}).all()


Crowded = Callable[..., Farm]


@contextlib.contextmanager
def farming(settings: Settings, *, http: type[asyncio.Protocol] = Protocol) -> Iterator[Farm]:
    """A farm with these settings, served until the end of the block; then every event it ever told is looked at."""
    app = create_app(settings)
    engine = engines.engine(settings.database_url, patience_seconds=30)
    with serving(app, http=http) as url, httpx.Client(base_url=url, timeout=patience.limit(30)) as client:
        farm = Farm(app, settings, client, engine)
        yield farm
        farm.callers.shutdown()
    if not farm.spoilt:
        faults = faults_of_all(engine)
        assert not faults, faults[:5]
    engine.dispose()
