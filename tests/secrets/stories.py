"""A farm's life with every verb and many errors: everything that could write a secret somewhere, done once."""

import itertools
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import Engine, text

from tests.api.auth.test_secrets import bad_answers
from tests.patience import until
from tests.worker.webhooks.receivers import Receiver, answering

PLANTED = "hunter2-planted"  # every password begins with it, as those of `bad_answers` do
USERS, HOOKS, LINE, EVENTS, KEYS = (
    f"/api/v1/{name}" for name in ("users", "webhooks", "lock_requests", "events", "keys")
)


@dataclass
class Story:
    client: httpx.Client
    engine: Engine
    receiver: Receiver
    leases: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    stream: str = ""

    def tell(self) -> None:
        users = self.make_users()
        self.lock(users[0], users[1])
        self.lock_many(users[2], users[3])
        self.wait(users[4])
        self.send_webhooks()
        self.use_keys()
        bad_answers(self.client)
        self.suffer_defects(users[0])
        self.read(users)
        self.call("DELETE", f"{USERS}/{users[5]}", params={"force": "true", "reason": "over"})

    def call(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        answer = (
            self.client.request(method, path, json=body, **more)
            if body is not None
            else (self.client.request(method, path, **more))
        )
        return answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else None

    def make_users(self) -> list[str]:
        one = [self.call("POST", f"{USERS}/", {"login": f"bot-{n}", "password": f"{PLANTED}-{n}"}) for n in range(3)]
        rows: list[Any] = [{"login": f"row-{n}", "password": f"{PLANTED}-row-{n}"} for n in range(3)]
        batch = self.call(
            "POST", f"{USERS}/batch", [*rows, rows[0], {"password": PLANTED}, {"login": "", "password": 1}]
        )
        ids = [user["id"] for user in one] + [row["user"]["id"] for row in batch["results"] if row["status"] == 201]
        self.call("PATCH", f"{USERS}/{ids[0]}", {"password": f"{PLANTED}-new"})
        self.call("PATCH", f"{USERS}/{ids[0]}", {"password": f"{PLANTED}-new", "login": PLANTED})
        return ids

    def lock(self, one: str, other: str) -> None:
        lease, lost = str(uuid.uuid4()), str(uuid.uuid4())
        self.leases |= {lease, lost}
        acquire, renew, release = (f"{USERS}/{one}/{verb}_lock" for verb in ("acquire", "renew", "release"))
        for path, body in itertools.product((acquire, renew, release), ({"lease_id": lease}, {"lease_id": lost})):
            self.call("POST", path, body)
        for body in ({"lease_id": lost}, {"lease_id": lost}):
            self.call("POST", acquire, {**body, "ttl_seconds": 600, "metadata": {"job": "nightly"}})
        self.call("POST", release, {"force": True, "reason": "by hand"})
        for path in (renew, release, acquire):
            self.call("POST", path, {"lease_id": lost})
        self.call("POST", f"{USERS}/{other}/acquire_lock")
        self.call("POST", f"{USERS}/{other}/release_lock")

    def lock_many(self, one: str, other: str) -> None:
        for count in (2, 100):
            self.call("POST", f"{USERS}/acquire_lock", {"count": count, "request_id": str(uuid.uuid4())})
        leases = [{"user_id": user, "lease_id": str(uuid.uuid4())} for user in (one, other)]
        self.leases |= {lease["lease_id"] for lease in leases}
        for verb in ("renew_lock", "release_lock"):
            self.call("POST", f"{USERS}/{verb}", {"leases": leases})
        owner = self.call("GET", "/api/v1/whoami")["principal"]
        self.call("POST", f"{USERS}/release_lock", {"owner": owner})

    def wait(self, user: str) -> None:
        """One call that waits, is shown and cancelled; one lock that lapses and is swept."""
        held, waiting = str(uuid.uuid4()), str(uuid.uuid4())
        self.leases |= {held, waiting}
        self.call("POST", f"{USERS}/{user}/acquire_lock", {"lease_id": held, "ttl_seconds": 2})
        self.call("POST", f"{USERS}/{user}/acquire_lock", {"lease_id": waiting, "wait_seconds": 1})
        for method, path in (("GET", f"{LINE}/"), ("GET", f"{LINE}/{waiting}"), ("DELETE", f"{LINE}/{waiting}")):
            self.call(method, path)
        until(lambda: self._has_expired(user), what="the sweep")
        self.call("POST", f"{USERS}/{user}/renew_lock", {"lease_id": held})

    def send_webhooks(self) -> None:
        hook = self.call("POST", f"{HOOKS}/", {"url": self.receiver.url, "after": None})
        path = f"{HOOKS}/{hook['id']}"
        self.secrets.add(hook["secret"])
        self.receiver.behave = answering(500)
        until(lambda: self.receiver.received, what="a delivery")
        self.secrets.add(self.call("POST", f"{path}/rotate_secret", {"overlap_seconds": 60})["secret"])
        self.receiver.behave = answering(204)
        self.call("PATCH", path, {"status": "paused"})
        self.call("POST", f"{path}/resume", {"after": None})
        until(lambda: len(self.receiver.received) > 20, seconds=20, what="the deliveries")
        made = self.call("GET", f"{path}/deliveries")
        self.call("POST", f"{path}/deliveries/{made[0]['id']}/send_again")
        for body in ({"url": "http://169.254.169.254/"}, {"url": "x"}, {"url": f"http://a:{PLANTED}@example.org/"}):
            self.call("POST", f"{HOOKS}/", body)
        for method in ("GET", "PATCH"):
            self.call(method, path, {"description": "kept"} if method == "PATCH" else None)
        self.call("GET", f"{HOOKS}/")
        self.call("GET", f"{HOOKS}/{uuid.uuid4()}")

    def use_keys(self) -> None:
        """Right, wrong, replaced and revoked ones."""
        made = self.call("POST", f"{KEYS}/", {"name": "ci", "scopes": ["read", "lock"]})
        rotated = self.call("POST", f"{KEYS}/{made['id']}/rotate", {"overlap_seconds": 0})
        self.keys |= {made["key"], rotated["key"]}
        for key in (made["key"], rotated["key"], rotated["key"][:-1], rotated["key"] + "x"):
            for header in (f"Bearer {key}", key):
                self.call("GET", f"{USERS}/", headers={"Authorization": header})
            self.call("GET", f"{USERS}/", params={"key": key})
        for method in ("GET", "DELETE"):
            self.call(method, f"{KEYS}/{made['id']}")
        self.call("GET", f"{KEYS}/", headers={"Authorization": f"Bearer {rotated['key']}"})

    def suffer_defects(self, user: str) -> None:
        """A table is gone: statements fail with secrets among their values."""
        lease = str(uuid.uuid4())
        self.leases.add(lease)
        self._execute("ALTER TABLE outbox RENAME TO elsewhere")
        try:
            self.call("POST", f"{USERS}/", {"login": "defect", "password": PLANTED})
            self.call("POST", f"{USERS}/batch", [{"login": "defect", "password": PLANTED}])
            self.call("PATCH", f"{USERS}/{user}", {"password": f"{PLANTED}-lost"})
            self.call("POST", f"{USERS}/{user}/acquire_lock", {"lease_id": lease})
        finally:
            self._execute("ALTER TABLE elsewhere RENAME TO outbox")

    def read(self, users: list[str]) -> None:
        lease = str(uuid.uuid4())
        self.leases.add(lease)
        self.call("POST", f"{USERS}/{users[5]}/acquire_lock", {"lease_id": lease})
        for user in users:
            for path in ("", "/lock", "/lock?consistent=true", "/events"):
                self.call("GET", f"{USERS}/{user}{path}")
        until(lambda: self.call("GET", f"{EVENTS}?limit=1000")[-1]["subject"].endswith(users[5]), what="the last event")
        for path in (f"{USERS}/", LINE, "/api/v1/stats", "/health", "/metrics", "/livez", "/readyz", "/openapi.json"):
            self.call("GET", path)
        with self.client.stream("GET", f"{EVENTS}/stream") as answer:
            for line in answer.iter_lines():
                self.stream += f"{line}\n"
                if line.startswith("data:") and users[5] in line:
                    return

    def _has_expired(self, user: str) -> bool:
        return any("expired" in event["type"] for event in self.call("GET", f"{USERS}/{user}/events"))

    def _execute(self, statement: str) -> None:
        with self.engine.begin() as conn:
            conn.execute(text(statement))
