"""An etcd of our own (Debian: etcd-server), asked over its own HTTP gateway."""

import base64
import contextlib
import http.client
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.failures import ProgramMissing
from standalone import ports
from standalone.processes.parts import Server

VALUE = '{"owner":"bench","expires_at":"2030-01-01T00:00:00.000000Z"}'  # of about what a lock says


class Etcd(Server):
    """One member, which syncs every change to disk before it answers, as it does by default."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__("etcd", data_dir=data_dir, port=0)

    @property
    def url(self) -> str:
        return f"http://{ports.LOOPBACK}:{self.port}"

    def launch(self) -> None:
        self._port = self._port or ports.free()
        peers = f"http://{ports.LOOPBACK}:{ports.free()}"
        settings = {
            "name": "bench",
            "data-dir": str(self.data_dir / "data"),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"bench={peers}",
            "log-level": "error",
        }
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._process.launch([str(program()), *(f"--{name}={value}" for name, value in settings.items())])

    def answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.revision() > 0
        return False

    def revision(self) -> int:
        """How many times the keys were changed: a create-if-absent that found the key does not count."""
        return int(self._post("/v3/kv/range", {"key": _encoded("none")})["header"]["revision"])

    def clear(self) -> None:
        """Delete every key."""
        everything = base64.b64encode(b"\0").decode()
        self._post("/v3/kv/deleterange", {"key": everything, "range_end": everything})

    def _post(self, path: str, body: dict[str, str]) -> "dict[str, dict[str, str]]":
        with contextlib.closing(http.client.HTTPConnection(ports.LOOPBACK, self.port, timeout=10)) as connection:
            connection.request("POST", path, json.dumps(body))
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise http.client.HTTPException(answer.status)
            shown: dict[str, dict[str, str]] = json.loads(answer.read())
            return shown


def program() -> Path:
    """Raises ProgramMissing."""
    if (found := shutil.which("etcd")) is None:
        raise ProgramMissing("etcd is not installed: apt install etcd-server, or leave it out with --without etcd")
    return Path(found)


def requests(count: int) -> Iterator[tuple[str, str]]:
    """So many keys created, each if it is absent, and then deleted again."""
    keys = [_encoded(f"locks/bot-{number:09}") for number in range(count)]
    value = _encoded(VALUE)
    for key in keys:
        absent = {"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
        put = {"request_put": {"key": key, "value": value}}
        yield "/v3/kv/txn", json.dumps({"compare": [absent], "success": [put]}, separators=(",", ":"))
    for key in keys:
        yield "/v3/kv/deleterange", json.dumps({"key": key}, separators=(",", ":"))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
