"""The calls that try the cells of the table in docs/authorization.md, and whether the answers are as it says."""

import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import insert, text

from domain import keys, locks, requests, webhooks
from domain.events.feed import Filter
from domain.keys import NewKey
from domain.locks import Acquire
from domain.requests import Ask, Enqueue
from domain.tables import webhook_deliveries
from domain.webhooks import NewWebhook
from tests.api.auth.authorizations import PROJECTS, Cell
from tests.api.auth.keyrings import bearing
from tests.api.farms import EVENTS, LINE, USERS, Farm
from tests.api.routes.hooks import HOOKS, URL

KEYS = "/api/v1/keys"
STREAM_IDLE_SECONDS = 1.0
REFUSED = {401: "unauthenticated", 403: "forbidden"}
# All that a call may change but for requests in line, which end by themselves.
STATE = text("""
SELECT (SELECT md5(string_agg(to_jsonb(u)::text, '' ORDER BY id)) FROM users u),
    (SELECT md5(string_agg(to_jsonb(w)::text, '' ORDER BY id)) FROM webhooks w),
    (SELECT md5(string_agg((to_jsonb(k) - 'last_used_at')::text, '' ORDER BY id)) FROM api_keys k),
    (SELECT count(*) FROM webhook_deliveries)
""")


@dataclass(frozen=True)
class Try:
    """A request for one cell, and whether what it concerns is shown in the answer."""

    path: str
    body: object = None
    shows: Callable[[Any], bool] = lambda _told: True


@dataclass
class World:
    """A farm that wants keys, and one key for each who."""

    farm: Farm
    keys: Mapping[str, str | None]
    names: Iterator[int] = field(default_factory=itertools.count)

    def new_user(self, where: str, **locked: str) -> str:
        """A user of that project; `holder` and `lease_id` say who has it locked."""
        body = {"login": f"bot-{uuid.uuid4().hex}", "project_id": str(PROJECTS[where])}
        with bearing(self.farm, self.keys["root"]) as root:
            answer = root.post(f"{USERS}/", json=body)
        assert answer.status_code == 201, answer.text
        user_id = str(answer.json()["id"])
        if locked:
            self.lock(user_id, **locked)
        return user_id

    def lock(self, user_id: str, *, holder: str, lease_id: str) -> None:
        wish = Acquire(UUID(user_id), UUID(lease_id), holder, "owner", timedelta(minutes=10))
        with self.farm.engine.begin() as conn:
            assert isinstance(locks.acquire(conn, [wish])[0], locks.Grant)

    def in_line(self, where: str, *, principal: str) -> str:
        """A request that waits for a user of that project."""
        self.new_user(where, holder="somebody", lease_id=str(uuid.uuid4()))
        project = PROJECTS[where]
        ask = Ask(uuid.uuid4(), principal, "owner", timedelta(minutes=1), project_id=project)
        with self.farm.engine.begin() as conn:
            placed = requests.enqueue(conn, [Enqueue(ask, uuid.uuid4())])
        assert isinstance(placed[0], requests.Place), placed
        return str(ask.request_id)

    def granted(self, where: str, *, principal: str) -> str:
        """A request that was granted a user of that project."""
        self.new_user(where)
        ask = Ask(uuid.uuid4(), principal, "owner", timedelta(minutes=10), project_id=PROJECTS[where])
        with self.farm.engine.begin() as conn:
            assert isinstance(requests.take(conn, [ask])[0], requests.Granted)
        return str(ask.request_id)

    def webhook(self, where: str) -> str:
        new = NewWebhook(URL, by=Filter(projects=frozenset({PROJECTS[where]})))
        with self.farm.engine.begin() as conn:
            webhook, _ = webhooks.create(conn, new=new, ring=self.farm.app.state.services.ring)
        return str(webhook.id)

    def delivery(self, webhook_id: str) -> int:
        """A delivery of that webhook, of an event that is still there."""
        self.new_user("own")
        self.farm.publish()
        values = {"webhook_id": webhook_id, "kind": "first", "attempt": 1, "status": 200, "latency_ms": 1}
        with self.farm.engine.begin() as conn:
            event = conn.execute(text("SELECT seq, event_id, occurred_at FROM events ORDER BY seq DESC LIMIT 1")).one()
            values |= {"seq": event.seq, "event_id": event.event_id, "requested_at": event.occurred_at}
            made = insert(webhook_deliveries).values(values).returning(webhook_deliveries.c.id)
            return int(conn.execute(made).scalar_one())

    def state(self) -> tuple[Any, ...]:
        with self.farm.engine.begin() as conn:
            return tuple(conn.execute(STATE).one())

    def key(self, where: str) -> str:
        new = NewKey(f"key-{uuid.uuid4().hex}", ["read"], [PROJECTS[where]])
        with self.farm.engine.begin() as conn:
            return str(keys.create(conn, new=new, created_by="test")[0].id)


def check(world: World, cell: Cell) -> None:
    """Make the call of that cell and hold the answer against it."""
    attempt = TRIES[cell.row.call](world, cell)
    method, before = cell.row.call.split()[0], world.state()
    with bearing(world.farm, world.keys[cell.who]) as client:
        if attempt.path.startswith(f"{EVENTS}/stream"):
            status, shown = _streamed(client, attempt.path)
        else:
            answer = client.request(method, attempt.path, json=attempt.body)
            status, shown = answer.status_code, _told(answer)
    match cell.expected:
        case "absent":
            assert (status, attempt.shows(shown)) == (200, False), shown
        case "unknown":
            assert (status, shown["lost"][0]["reason"]) == (200, "unknown"), shown
        case "row 403":
            assert (status, shown["results"][0]["status"]) == (200, 403), shown
        case expected:
            assert status == int(expected), shown
            assert status >= 400 or attempt.shows(shown), shown
    if status in REFUSED:
        assert shown["type"] == f"urn:botfarm:problem:{REFUSED[status]}"
    if status >= 400 or cell.expected in ("unknown", "row 403"):
        assert world.state() == before, "what was refused has changed something"


def _told(answer: httpx.Response) -> Any:
    """JSON where it is that; of any other answer its text."""
    return answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text


def _streamed(client: httpx.Client, path: str) -> tuple[int, Any]:
    """What a stream says until it falls silent."""
    said = ""
    with client.stream("GET", path, timeout=httpx.Timeout(10, read=STREAM_IDLE_SECONDS)) as answer:
        if answer.status_code != 200:
            return answer.status_code, json.loads(answer.read())
        try:
            for part in answer.iter_text():
                said += part
                if "data:" in said:
                    break
        except httpx.ReadTimeout:
            pass
    return 200, said


def _on_user(suffix: str = "", body: object = None, *, shows: str = "user_id") -> Callable[[World, Cell], Try]:
    def attempt(world: World, cell: Cell) -> Try:
        user_id = world.new_user(cell.where)
        return Try(f"{USERS}/{user_id}{suffix}", body, lambda answered: not answered or answered[shows] == user_id)

    return attempt


def _with_lease(verb: str, *, of: str | None = None, force: bool = False) -> Callable[[World, Cell], Try]:
    """On a lock of the caller's own, or of another principal."""

    def attempt(world: World, cell: Cell) -> Try:
        lease_id = str(uuid.uuid4())
        user_id = world.new_user(cell.where, holder=of or cell.who, lease_id=lease_id)
        body = {"force": True, "reason": "stuck"} if force else {"lease_id": lease_id}
        return Try(f"{USERS}/{user_id}/{verb}", body, lambda answered: answered["id"] == user_id)

    return attempt


def _with_leases(verb: str) -> Callable[[World, Cell], Try]:
    def attempt(world: World, cell: Cell) -> Try:
        lease_id = str(uuid.uuid4())
        user_id = world.new_user(cell.where, holder=cell.who, lease_id=lease_id)
        body = {"leases": [{"user_id": user_id, "lease_id": lease_id}]}
        return Try(f"{USERS}/{verb}", body, lambda answered: answered["lost"] == [])

    return attempt


def _listed(path: str, made: Callable[[World, Cell], str]) -> Callable[[World, Cell], Try]:
    """A list that shows, or does not, the thing that was made."""

    def attempt(world: World, cell: Cell) -> Try:
        thing = made(world, cell)
        world.farm.publish()
        return Try(path.format(thing), shows=lambda answered: thing in json.dumps(answered))

    return attempt


def _on(path: str, made: Callable[[World, Cell], str], body: object = None) -> Callable[[World, Cell], Try]:
    return lambda world, cell: Try(path.format(made(world, cell)), body)


def _naming_project(path: str, body: Callable[[str], object]) -> Callable[[World, Cell], Try]:
    return lambda _world, cell: Try(path, body(str(PROJECTS[cell.where])))


def _pool(world: World, cell: Cell) -> Try:
    world.new_user(cell.where)
    body = {"project_id": str(PROJECTS[cell.where])}
    return Try(f"{USERS}/acquire_lock", body, lambda answered: answered["users"][0]["project_id"] == body["project_id"])


def _stats(world: World, cell: Cell) -> Try:
    world.new_user(cell.where)
    project = str(PROJECTS[cell.where])
    return Try("/api/v1/stats", shows=lambda answered: project in json.dumps(answered))


def _send_again(world: World, cell: Cell) -> Try:
    webhook_id = world.webhook(cell.where)
    return Try(f"{HOOKS}/{webhook_id}/deliveries/{world.delivery(webhook_id)}/send_again")


def _user(world: World, cell: Cell) -> str:
    return world.new_user(cell.where)


def _request(world: World, cell: Cell) -> str:
    """In line: the caller's own, or another principal's for a foreign project."""
    return world.in_line(cell.where, principal=cell.who if cell.where == "own" else "somebody")


def _granted(world: World, cell: Cell) -> str:
    return world.granted(cell.where, principal="somebody")


def _webhook(world: World, cell: Cell) -> str:
    return world.webhook(cell.where)


def _key(world: World, cell: Cell) -> str:
    return world.key(cell.where)


def _new_login() -> str:
    return f"bot-{uuid.uuid4().hex}"


def _plain(path: str) -> Callable[[World, Cell], Try]:
    return lambda _world, _cell: Try(path)


TRIES: Mapping[str, Callable[[World, Cell], Try]] = {
    f"GET {USERS}/": _listed(f"{USERS}/?limit=1000", _user),
    f"POST {USERS}/": _naming_project(f"{USERS}/", lambda project: {"login": _new_login(), "project_id": project}),
    f"POST {USERS}/batch": _naming_project(
        f"{USERS}/batch", lambda project: [{"login": _new_login(), "project_id": project}]
    ),
    f"GET {USERS}/{{user_id}}": _on_user(shows="id"),
    f"PATCH {USERS}/{{user_id}}": _on_user(body={"env": "prod"}, shows="id"),
    f"DELETE {USERS}/{{user_id}}": _on_user(),
    f"GET {USERS}/{{user_id}}/events": _listed(f"{USERS}/{{}}/events", _user),
    f"GET {USERS}/{{user_id}}/lock": _on_user("/lock"),
    f"POST {USERS}/{{user_id}}/acquire_lock": _on_user("/acquire_lock", {}, shows="id"),
    f"POST {USERS}/{{user_id}}/renew_lock": _with_lease("renew_lock"),
    f"POST {USERS}/{{user_id}}/release_lock": _with_lease("release_lock"),
    f"POST {USERS}/{{user_id}}/release_lock with force": _with_lease("release_lock", of="somebody", force=True),
    f"POST {USERS}/acquire_lock": _pool,
    f"POST {USERS}/renew_lock": _with_leases("renew_lock"),
    f"POST {USERS}/release_lock": _with_leases("release_lock"),
    f"GET {LINE}/": _listed(f"{LINE}/?limit=1000", _request),
    f"GET {LINE}/{{request_id}}": _on(f"{LINE}/{{}}", _request),
    f"DELETE {LINE}/{{request_id}}": _on(f"{LINE}/{{}}", _request),
    f"DELETE {LINE}/{{request_id}} with force": _on(f"{LINE}/{{}}?force=true&reason=stuck", _granted),
    f"GET {EVENTS}": _listed(f"{EVENTS}?user_id={{}}", _user),
    f"GET {EVENTS}/stream": _listed(f"{EVENTS}/stream?user_id={{}}", _user),
    "GET /api/v1/stats": _stats,
    f"POST {HOOKS}/": _naming_project(f"{HOOKS}/", lambda project: {"url": URL, "project_id": project}),
    f"GET {HOOKS}/": _listed(f"{HOOKS}/?limit=1000", _webhook),
    f"GET {HOOKS}/{{webhook_id}}": _on(f"{HOOKS}/{{}}", _webhook),
    f"PATCH {HOOKS}/{{webhook_id}}": _on(f"{HOOKS}/{{}}", _webhook, {"description": "changed"}),
    f"DELETE {HOOKS}/{{webhook_id}}": _on(f"{HOOKS}/{{}}", _webhook),
    f"POST {HOOKS}/{{webhook_id}}/resume": _on(f"{HOOKS}/{{}}/resume", _webhook),
    f"POST {HOOKS}/{{webhook_id}}/rotate_secret": _on(f"{HOOKS}/{{}}/rotate_secret", _webhook),
    f"GET {HOOKS}/{{webhook_id}}/deliveries": _on(f"{HOOKS}/{{}}/deliveries", _webhook),
    f"POST {HOOKS}/{{webhook_id}}/deliveries/{{delivery_id}}/send_again": _send_again,
    f"POST {KEYS}/": _naming_project(
        f"{KEYS}/", lambda project: {"name": f"key-{uuid.uuid4().hex}", "scopes": ["read"], "projects": [project]}
    ),
    f"GET {KEYS}/": _listed(f"{KEYS}/?limit=1000", _key),
    f"GET {KEYS}/{{key_id}}": _on(f"{KEYS}/{{}}", _key),
    f"DELETE {KEYS}/{{key_id}}": _on(f"{KEYS}/{{}}", _key),
    f"POST {KEYS}/{{key_id}}/rotate": _on(f"{KEYS}/{{}}/rotate", _key),
    "GET /api/v1/whoami": _plain("/api/v1/whoami"),
    "GET /health": _plain("/health"),
    "GET /livez": _plain("/livez"),
    "GET /readyz": _plain("/readyz"),
    "GET /metrics": _plain("/metrics"),
}
