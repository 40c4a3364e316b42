"""Calls that mean something else without their body, and the ways in which a body can be sent or lost.

A new way is one row of `WHOLE` or `REFUSED`; it is tried with every call.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from tests.api.farms import NOBODY, USERS
from tests.hostile.wires import End, Shape

LAST = b"GET /livez HTTP/1.1\r\nHost: farm\r\nConnection: close\r\n\r\n"
FIRST = b"GET /readyz HTTP/1.1\r\nHost: farm\r\n\r\n"
H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(frozen=True)
class Call:
    """`user_id` in the path is the case's own user, whose live lock belongs to another job when it is `held`.

    `status` and `done` are what becomes of it when its body is read.
    """

    method: str
    path: str
    body: object
    status: int
    done: tuple[str, ...] = ()
    held: bool = False

    def content(self) -> bytes:
        return json.dumps(self.body).replace("UNIQUE", uuid.uuid4().hex).encode()


CALLS = {
    "release by a lost lease": Call("POST", f"{USERS}/USER/release_lock", {"lease_id": NOBODY}, 409, held=True),
    "release by force": Call(
        "POST", f"{USERS}/USER/release_lock", {"force": True, "reason": "x"}, 200, ("lock.released:live",), held=True
    ),
    "renew by a lost lease": Call("POST", f"{USERS}/USER/renew_lock", {"lease_id": NOBODY}, 409, held=True),
    "acquire": Call(
        "POST", f"{USERS}/USER/acquire_lock", {"owner": "named", "ttl_seconds": 60}, 200, ("lock.acquired:named",)
    ),
    "acquire from an empty pool": Call("POST", f"{USERS}/acquire_lock", {"env": "nowhere"}, 404),
    "release of many": Call(
        "POST", f"{USERS}/release_lock", {"leases": [{"user_id": NOBODY, "lease_id": NOBODY}]}, 200, held=True
    ),
    "batch": Call(
        "POST",
        f"{USERS}/batch",
        [{"login": "a-UNIQUE"}, {"login": "b-UNIQUE"}],
        200,
        ("user.created", "user.created"),
    ),
    "create": Call("POST", f"{USERS}/", {"login": "c-UNIQUE", "env": "named"}, 201, ("user.created",)),
    "change": Call("PATCH", f"{USERS}/USER", {"env": "changed"}, 200, ("user.updated",)),
    "delete": Call("DELETE", f"{USERS}/USER", {"reason": "unread"}, 204, ("user.deleted",)),
    "read": Call("GET", f"{USERS}/USER", {"reason": "unread"}, 200),
    "probe": Call("GET", "/livez", {"reason": "unread"}, 200),
    "nothing here": Call("POST", "/api/v1/nowhere", {"reason": "unread"}, 404),
    "key": Call("POST", "/api/v1/keys/", {"name": "n-UNIQUE", "scopes": ["read"]}, 201),
}

Way = Callable[[Call, str], Shape]


def head(call: Call, user_id: str, *lines: str, version: str = "1.1") -> bytes:
    first = f"{call.method} {call.path.replace('USER', user_id)} HTTP/{version}"
    return "\r\n".join([first, "Host: farm", "Content-Type: application/json", *lines, "", ""]).encode()


def in_chunks(content: bytes, *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    half = len(content) // 2
    parts = [b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in (content[:half], content[half:])]
    return b"".join([*parts, b"0\r\n", trailers, b"\r\n"])


def with_length(*lines: str, last: bytes = LAST, first: bytes = b"", version: str = "1.1", split: int = 0) -> Way:
    """The whole body with its length; from `split` on, counted from the end of the head, in a second piece."""

    def way(call: Call, user_id: str) -> Shape:
        content = call.content()
        sent = head(call, user_id, *lines, f"Content-Length: {len(content)}", version=version)
        cut = len(first) + len(sent) + split
        whole = first + sent + content + last
        return Shape((whole[:cut], whole[cut:]) if split else (whole,))

    return way


def chunked(*lines: str, extension: bytes = b"", trailers: bytes = b"", apart: bool = False) -> Way:
    def way(call: Call, user_id: str) -> Shape:
        sent, body = (
            head(call, user_id, *lines, CHUNKED),
            in_chunks(call.content(), extension=extension, trailers=trailers),
        )
        return Shape((sent, body, LAST) if apart else (sent + body + LAST,))

    return way


def in_pieces(size: int, way: Way) -> Way:
    """The same bytes, a few at a time."""

    def cut(call: Call, user_id: str) -> Shape:
        sent = b"".join(way(call, user_id).pieces)
        return Shape(tuple(sent[start : start + size] for start in range(0, len(sent), size)))

    return cut


def apart(*lines: str) -> Way:
    """The body is sent after the whole head has arrived."""

    def way(call: Call, user_id: str) -> Shape:
        content = call.content()
        return Shape((head(call, user_id, *lines, f"Content-Length: {len(content)}"), content, LAST))

    return way


def padded() -> Way:
    def way(call: Call, user_id: str) -> Shape:
        content = call.content()
        return Shape((head(call, user_id, f"Content-Length: {len(content)} \t") + content + LAST,))

    return way


def offering(protocol: str, connection: str = "Upgrade") -> tuple[str, str]:
    return f"Connection: {connection}", f"Upgrade: {protocol}"


WEBSOCKET = (*offering("websocket"), "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
# The body is read; the connection then serves the last call, unless the call itself ends it.
WHOLE: dict[str, Way] = {
    "length": with_length(),
    "length, apart": apart(),
    "length with a space behind": padded(),
    "chunked": chunked(),
    "chunked, apart": chunked(apart=True),
    "chunked with extensions": chunked(extension=b";a=b"),
    "chunked with trailers": chunked(trailers=b"X-Late: 1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"),
    "expect": apart("Expect: 100-continue"),
    "h2c": with_length(*H2C),
    "h2c, apart": apart(*H2C),
    "h2c, cut in the body": with_length(*H2C, split=5),
    "h2c, cut in the end of the head": with_length(*H2C, split=-2),
    "h2c, cut in the head": with_length(*H2C, split=-40),
    "h2c in small pieces": in_pieces(11, with_length(*H2C)),
    "h2c, chunked": chunked(*H2C),
    "h2c, chunked, apart": chunked(*H2C, apart=True),
    "h2c, expect": apart(*H2C, "Expect: 100-continue"),
    "h2c after another call": with_length(*H2C, first=FIRST),
    "h2c after another offer": with_length(*H2C, first=FIRST[:-2] + "\r\n".join([*H2C, "", ""]).encode()),
    "h2c before another offer": with_length(*H2C, last=LAST.replace(b"close", b"close, upgrade\r\nUpgrade: h2c")),
    "h2c, HTTP/1.0": with_length(*H2C, version="1.0", last=b""),
    "h2c, close": with_length("Connection: close, Upgrade", "Upgrade: h2c", last=b""),
    "h2c, keep-alive": with_length(*offering("h2c", "keep-alive, Upgrade")),
    "h2c in capitals": with_length("CONNECTION: UPGRADE", "UPGRADE: H2C"),
    "h2c offered twice": with_length(*offering("h2c"), *offering("h2c")),
    "websocket": with_length(*WEBSOCKET),
    "websocket, apart": apart(*WEBSOCKET),
    "TLS": with_length(*offering("TLS/1.2, HTTP/1.1")),
    "unknown protocol": with_length(*offering("foo/2")),
    "upgrade without a name": with_length(*offering("")),
    "upgrade without connection": with_length("Upgrade: h2c"),
    "connection without upgrade": with_length("Connection: Upgrade"),
}


def cut(end: End, *lines: str, missing: int = 1) -> Way:
    """All but the last bytes of the body come; `missing` 0 is all of them."""

    def way(call: Call, user_id: str) -> Shape:
        content = call.content()
        sent = head(call, user_id, *lines, f"Content-Length: {len(content)}")
        return Shape((sent, content[: len(content) - (missing or len(content))]), end)

    return way


def cut_chunks(end: End, *lines: str, missing: int) -> Way:
    def way(call: Call, user_id: str) -> Shape:
        return Shape((head(call, user_id, *lines, CHUNKED), in_chunks(call.content())[:-missing]), end)

    return way


def framed(*lines: str, tail: bytes | None = None) -> Way:
    """A framing that cannot be believed, before a body that is whole, or before `tail`."""

    def way(call: Call, user_id: str) -> Shape:
        content = call.content()
        body = [line.replace("LENGTH", str(len(content))) for line in lines]
        return Shape((head(call, user_id, *body) + (content if tail is None else tail),))

    return way


ENDS: dict[End, tuple[str, ...]] = {"half-close": (), "close": (), "reset": ("Expect: 100-continue",)}
# The call is refused with 400, or gets no answer where its client does not wait for one; nothing is done.
REFUSED: dict[str, Way] = {
    **{
        f"{name}, {end}": way
        for end, more in ENDS.items()
        for name, way in {
            "length, one byte missing": cut(end, *more),
            "length, no body": cut(end, *more, missing=0),
            "h2c, one byte missing": cut(end, *H2C, *more),
            "h2c, no body": cut(end, *H2C, *more, missing=0),
            "chunked, end missing": cut_chunks(end, *more, missing=5),
            "chunked, last line missing": cut_chunks(end, *more, missing=2),
            "chunked, cut in a chunk": cut_chunks(end, *more, missing=9),
            "h2c, chunked, end missing": cut_chunks(end, *H2C, *more, missing=5),
        }.items()
    },
    "chunk size is no number": framed(CHUNKED, tail=b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunk is longer than its size": framed(CHUNKED, tail=b"1\r\n{}\r\n0\r\n\r\n"),
    "chunk size overflows": framed(CHUNKED, tail=b"fffffffffffffffff\r\n"),
    "h2c, chunk size is no number": framed(*H2C, CHUNKED, tail=b"zz\r\n{}\r\n0\r\n\r\n"),
    "length twice": framed("Content-Length: LENGTH", "Content-Length: LENGTH"),
    "two lengths": framed("Content-Length: LENGTH", "Content-Length: 0"),
    "two lengths, none first": framed("Content-Length: 0", "Content-Length: LENGTH"),
    "length in a list": framed("Content-Length: LENGTH, LENGTH"),
    "length and chunked": framed("Content-Length: LENGTH", CHUNKED),
    "chunked and length": framed(CHUNKED, "Content-Length: LENGTH"),
    "h2c, length and chunked": framed(*H2C, "Content-Length: LENGTH", CHUNKED),
    "length with a plus": framed("Content-Length: +LENGTH"),
    "length below zero": framed("Content-Length: -1"),
    "length in hex": framed("Content-Length: 0xLENGTH"),
    "length in words": framed("Content-Length: ten"),
    "length empty": framed("Content-Length:"),
    "length overflows": framed(f"Content-Length: {'9' * 30}"),
    "coding unknown": framed("Transfer-Encoding: xchunked"),
    "coding identity": framed("Transfer-Encoding: identity"),
    "coding empty": framed("Transfer-Encoding:"),
    "chunked is not last": framed("Transfer-Encoding: chunked, gzip"),
    "chunked twice": framed(CHUNKED, CHUNKED),
    "space before the colon": framed("Content-Length : LENGTH"),
    "continued line": framed("Content-Length: LENGTH", " 1"),
}
