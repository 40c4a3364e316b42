"""Requests that nobody well-behaved would send, byte by byte, the same ones in every run."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from domain.keys import forms
from tests.api.auth.keyrings import OWN
from tests.api.farms import EVENTS, LINE, USERS

PLANTED = "hunter2-planted"
NOBODY = "0f8fad5b-d9cb-469f-a165-70867728950e"
SPLIT = "X-Injected"
TRICKS = [
    "\0",
    "\ud800",
    "\udfff\ud800",
    "\u202e",
    "\ufeff",
    "\u200b",
    "a\u0301" * 40,
    "ﷺ" * 30,
    "İ",
    "\U0010ffff",
    "\r\n",
]
NUMBERS = ["1e400", "-1e400", "NaN", "Infinity", "-0", "1e-400", "0.5", "true", '"60"', "null", "[]", "{}", "\u0661"]
NUMBERS += [str(2**bits + less) for bits in (31, 32, 63, 64, 128) for less in (-1, 0)] + ["9" * 5_000, "-" + "9" * 400]
UUIDS = [
    NOBODY.upper(),
    f"{{{NOBODY}}}",
    NOBODY.replace("-", ""),
    NOBODY[:-1] + "g",
    NOBODY.replace("-", "_"),
    "0" * 36,
]
UUIDS += [
    NOBODY[:32].replace("-", "") + "-" * 8,
    f"urn:uuid:{NOBODY}",
    "%D9%A0" * 32 + "----",
    "..",
    ".",
    "%00",
    "%ff%fe",
]
PATHS = ["//", "/./", "/../", "/%2e%2e/", "/..%2f", "/%2f", "/%5c", "/;x=1/", "/%00", "/%zz", "/%ff", "/%C0%AE%C0%AE/"]
PLACES = [f"{USERS}/", f"{USERS}/batch", f"{USERS}/acquire_lock", f"{USERS}/release_lock", f"{USERS}/renew_lock"]
PLACES += [f"{USERS}/{NOBODY}/{verb}_lock" for verb in ("acquire", "renew", "release")]
PLACES += ["/api/v1/webhooks/", "/api/v1/keys/", f"/api/v1/keys/{NOBODY}/rotate", f"/api/v1/webhooks/{NOBODY}/resume"]
# What each call wants, so that one twist in it is all that is wrong.
USER: dict[str, object] = {
    "login": "a",
    "password": PLANTED,
    "project_id": str(OWN),
    "env": "stage",
    "domain": "regular",
    "labels": {},
}
LOCK = {"owner": "o", "ttl_seconds": 60, "lease_id": NOBODY, "wait_seconds": 0, "metadata": {"a": "b"}}
LEASES: dict[str, object] = {"leases": [{"user_id": NOBODY, "lease_id": NOBODY}]}
POOL = {"project_id": str(OWN), "env": "x", "domain": "x", "labels": {}, "count": 1, "owner": "o", "priority": 0}
BODIES: list[tuple[str, dict[str, object]]] = [
    (f"{USERS}/", USER),
    (f"{USERS}/acquire_lock", POOL),
    (f"{USERS}/release_lock", LEASES),
    (f"{USERS}/renew_lock", LEASES),
    (f"{USERS}/{NOBODY}/acquire_lock", LOCK),
    (f"{USERS}/{NOBODY}/renew_lock", {"lease_id": NOBODY, "ttl_seconds": 60}),
    (f"{USERS}/{NOBODY}/release_lock", {"force": True, "reason": "stuck"}),
    ("/api/v1/keys/", {"name": "n", "scopes": ["read"], "projects": [str(OWN)], "locks_most": 1}),
    ("/api/v1/webhooks/", {"url": "https://example.org/", "description": "d", "env": "stage", "after": "latest"}),
]
READS = [f"{USERS}/", EVENTS, f"{EVENTS}/stream", LINE, "/api/v1/stats", "/api/v1/keys/", f"{USERS}/{NOBODY}/lock"]
PARAMETERS = ["limit", "after", "label", "login_prefix", "project_id", "wait_seconds", "token", "at", "type", "locked"]


@dataclass(frozen=True)
class Hostile:
    """What is sent. `keyless` shows no good key, so it must be refused; `ends` when it breaks HTTP or stops short.

    `parts` are sent with a pause in between, and of a `slow` one the rest never comes.
    """

    kind: str
    parts: tuple[bytes, ...]
    keyless: bool = False
    ends: bool = False
    slow: bool = False

    @property
    def is_head(self) -> bool:
        return self.parts[0].startswith(b"HEAD ")


class Sender:
    """Makes hostile requests with a good key, so that they come as far as they can."""

    def __init__(self, key: str, chance: random.Random) -> None:
        self._key, self._chance = key, chance

    def request(
        self, method: str, target: str, body: bytes | None = None, *lines: str, key: str | None = None
    ) -> bytes:
        answer = [f"{method} {target} HTTP/1.1", "Host: farm", f"Authorization: Bearer {key or self._key}", *lines]
        if body is not None:
            answer += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*answer, "", ""]).encode("utf-8", "surrogateescape") + (body or b"")

    def unicode(self) -> Hostile:
        trick = "".join(self._chance.choices(TRICKS, k=self._chance.randint(1, 4)))
        body = f"{trick}{self._chance.random()}{trick}"
        twist: object = self._chance.choice([body, body, {trick: trick}, [body]])
        if self._chance.random() < 0.5:
            return self._twisted("unicode", json.dumps(twist).encode())
        raw = json.dumps(twist, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return self._twisted(
            "unicode", raw.replace(b"0.", self._chance.choice([b"0.", b"\xc0\xaf", b"\xff", b"\xed\xa0\x80"]))
        )

    def number(self) -> Hostile:
        return self._twisted("number", self._chance.choice(NUMBERS).encode())

    def deep(self) -> Hostile:
        depth = self._chance.choice([60, 120, 300, 1_000, 20_000])
        opening, closing = self._chance.choice([("[", "]"), ('{"a":', "}"), ('{"labels":', "}"), ("[{", "}]")])
        inner = "1" if opening.endswith(":") else ""
        end = closing * depth if self._chance.random() < 0.7 else ""
        shape = self._chance.choice(
            ["%s", '{"metadata": %s}', "[%s]", '{"login": "a", "password": "hunter2-planted"%s']
        )
        return self._posted("deep", (shape % (opening * depth + inner + end)).encode())

    def large(self) -> Hostile:
        size = self._chance.choice([70_000, 1_048_577])
        many = b"{" + b",".join(b'"%d": 1' % n for n in range(size // 12)) + b"}"
        return self._posted("large", self._chance.choice([b" " * size, b'"' + b"x" * size + b'"', many]))

    def split(self) -> Hostile:
        evil = self._chance.choice(["\r\n", "\n", "\r", "%0d%0a", "\\r\\n", "\u560d\u560a", "\r\n ", "\0"])
        name = self._chance.choice(
            ["X-Request-ID", "traceparent", "Last-Event-ID", "Origin", "Host", "X-Forwarded-For"]
        )
        lines = [f"{name}: a{evil}{SPLIT}: yes"]
        if self._chance.random() < 0.3:
            lines = self._chance.choice(
                [
                    [f"{name} : a"],
                    [": a"],
                    ["no colon"],
                    [f"{name}: {'x' * 40_000}"],
                    [f"{name}: a"] * 300,
                    ["Transfer-Encoding: chunked", "Content-Length: 5"],
                    ["Content-Length: 3", "Content-Length: 5"],
                    ["Content-Length: -1"],
                    [f"Content-Length: {'9' * 5_000}"],
                    ["Transfer-Encoding: xchunked"],
                ]
            )
        target = self._chance.choice([*READS, f"{READS[0]}?login={evil.strip() or '%0a'}{SPLIT}"])
        return Hostile("split", (self.request("GET", target, None, *lines, "Connection: close"),))

    def path(self) -> Hostile:
        trick, odd = self._chance.choice(PATHS), self._chance.choice(UUIDS)
        target = self._chance.choice(
            [
                f"/api{trick}v1/users/",
                f"{trick}api/v1/keys/",
                f"{USERS}/{odd}/acquire_lock",
                f"{USERS}/{odd}",
                f"{USERS}{trick}{odd}/lock",
                f"/static{trick}{trick}main.py",
                f"/static/{trick * 3}etc/passwd",
                f"{USERS}/{odd}/events",
                f"http://elsewhere{USERS}/",
                "/" + trick * 500,
                f"{LINE}/{odd}",
            ]
        )
        method = self._chance.choice(["GET", "POST", "DELETE", "PATCH", "HEAD", "PUT", "TRACE", "get", "PROPFIND"])
        return Hostile("path", (self.request(method, target),))

    def query(self) -> Hostile:
        junk = [
            *(number.strip('"') for number in NUMBERS),
            "%00",
            "%ff",
            "%ED%A0%80",
            "a:b:c",
            ":",
            "%F0%9F",
            "-1",
            "1-",
            "-",
        ]
        pairs = [f"{self._chance.choice(PARAMETERS)}={self._chance.choice(junk)}" for _ in range(3)]
        target = f"{self._chance.choice(READS)}?{'&'.join(pairs)}&undeclared={'x' * self._chance.choice([1, 9_000])}"
        return Hostile("query", (self.request("GET", target),))

    def forged(self) -> Hostile:
        good = self._key
        values = [forms.make(), good[:-1], good + "x", good.swapcase(), f"{good} {good}", f"{good},{good}", "x" * 9_000]
        values += [
            "",
            good[:20] + "\0" + good[21:],
            good.replace("bf_", "BF_"),
            f'"{good}"',
            "é" * 41,
            f"{good}\u00a0x",
        ]
        lines = [
            f"Authorization: {self._chance.choice(['Bearer ', 'Basic ', 'bearer', ''])}{self._chance.choice(values)}"
        ]
        if self._chance.random() < 0.3:
            lines = self._chance.choice(
                [
                    [f"Authorization: Bearer {good}"] * 2,
                    [f"Authorization: Bearer {good}", "AUTHORIZATION: Basic YTpi"],
                    [f"Authorization : Bearer {good}"],
                    [f"X-Authorization: Bearer {good}", f"Cookie: key={good}", f"Proxy-Authorization: Bearer {good}"],
                ]
            )
        target = self._chance.choice([*READS, f"{READS[0]}?key={good}", "/api/v1/nowhere", "/api/v1/whoami"])
        raw = "\r\n".join([f"GET {target} HTTP/1.1", "Host: farm", *lines, "Connection: close", "", ""])
        return Hostile("forged", (raw.encode(),), keyless=True)

    def short(self) -> Hostile:
        """The length that is told is not the length that comes; the next request begins in the middle of a body."""
        whole = self.request("POST", self._chance.choice(PLACES), json.dumps({"password": PLANTED}).encode())
        cut = whole[: -self._chance.randint(1, 10)]
        more = whole + self._chance.choice([b"x", b"\0" * 50, b"}" * 9, b"\r\n\r\n"])
        return Hostile("short", (self._chance.choice([cut, more]),), ends=True)

    def garbage(self) -> Hostile:
        raw = self._chance.choice(
            [
                self._chance.randbytes(200),
                b"GET\r\n\r\n",
                b"GET / HTTP/9.9\r\n\r\n",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + self._chance.randbytes(90),
                b"CONNECT farm:443 HTTP/1.1\r\nHost: farm\r\n\r\n",
                self.request("POST", PLACES[2], None, "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
                self.request("POST", PLACES[2], None, "Transfer-Encoding: chunked") + b"fffffffffffffffff\r\n",
                self.request("GET", READS[0], None, "Upgrade: websocket", "Connection: Upgrade"),
                self.request("POST", PLACES[2], b"\x1f\x8b\x08" + self._chance.randbytes(50), "Content-Encoding: gzip"),
            ]
        )
        return Hostile("garbage", (raw,), ends=True)

    def slow(self) -> Hostile:
        whole = self.request("POST", self._chance.choice(PLACES), b'{"login": "slow", "password": "hunter2-planted"}')
        ends = sorted(self._chance.sample(range(len(whole) - 40, len(whole) - 1), 4))
        parts = tuple(whole[start:end] for start, end in zip([0, *ends], ends, strict=False))
        return Hostile("slow", parts, slow=True)

    def _twisted(self, kind: str, twist: bytes) -> Hostile:
        """A good call but for one value."""
        path, fields = self._chance.choice(BODIES)
        name = self._chance.choice(list(fields))
        body = json.dumps({**fields, name: "TWIST"}).encode().replace(b'"TWIST"', twist)
        if path == f"{USERS}/" and self._chance.random() < 0.3:
            path, body = f"{USERS}/batch", b"[" + body + b"]"
        return Hostile(kind, (self.request("POST", path, body),))

    def _posted(self, kind: str, body: bytes) -> Hostile:
        return Hostile(kind, (self.request("POST", self._chance.choice(PLACES), body),))


def inputs(key: str, *, count: int, slow: int) -> Iterator[Hostile]:
    """So many requests, of which some send their body slowly: these come first, for each takes its time."""
    sender = Sender(key, random.Random(20261129))
    for _ in range(slow):
        yield sender.slow()
    often: list[Callable[[], Hostile]] = [sender.unicode, sender.number, sender.path, sender.query, sender.forged] * 4
    kinds = [*often, *[sender.split] * 4, *[sender.deep, sender.short] * 2, sender.garbage]
    for n in range(count - slow):
        yield (sender.large if n % 250 == 0 else kinds[n % len(kinds)])()
