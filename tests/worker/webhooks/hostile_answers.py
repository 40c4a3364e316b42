"""Answers that no honest receiver sends, and what each of them comes to."""

from dataclasses import dataclass

from tests.worker.webhooks import receivers
from tests.worker.webhooks.receivers import Behaviour, deaf, kept, sending

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: %s\r\n\r\n"
FAR = b"99999999999999999999"


@dataclass(frozen=True)
class Hostile:
    """A behaviour, and the status and error that are listed; it is delivered when 2xx stands without an error."""

    name: str
    behave: Behaviour
    status: int | None
    error: str | None = None

    @property
    def delivered(self) -> bool:
        return self.error is None and self.status is not None and 200 <= self.status < 300


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""])


def refused(retry_after: bytes) -> Behaviour:
    return sending(REFUSED % retry_after, then=deaf)


# After what is delivered the receiver reads no more: a request on the same connection would never be received.
ACCEPTED = [
    Hostile("two answers in one packet", sending(OK + OK, then=deaf), 200),
    Hostile("ten answers in one packet", sending(OK * 10, then=deaf), 200),
    Hostile("a refusal behind the answer", sending(OK + head(status=b"500 No"), then=deaf), 200),
    Hostile("an answer behind a refusal", sending(head(b"Content-Length: 0", status=b"500 No") + OK, then=deaf), 500),
    Hostile("a 204 with a body", sending(head(status=b"204 None") + b"body", then=deaf), 204),
    Hostile("a 204 with a length", sending(head(b"Content-Length: 4", status=b"204 None") + b"body", then=deaf), 204),
    Hostile("a 204 with an answer as body", sending(head(status=b"204 None") + OK, then=deaf), 204),
    Hostile("a 304 with a body", sending(head(status=b"304 Same") + OK, then=deaf), 304),
    Hostile("more than the length says", sending(head(b"Content-Length: 2") + b"well" + OK, then=deaf), 200),
    Hostile("one byte too many", sending(OK + b"\n", then=deaf), 200),
    Hostile("an answer behind the chunks", sending(CHUNKED + b"0\r\n\r\n" + OK, then=deaf), 200),
    Hostile("informational answers first", sending(head(status=b"100 Go") * 9 + OK, then=kept), 200),
    Hostile("a close that does not come", sending(head(b"Connection: close", b"Content-Length: 0"), then=deaf), 200),
    Hostile("HTTP/1.0", sending(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n" + OK, then=deaf), 200),
    Hostile("a body up to the end", sending(head() + b"x" * 100), 200),
    Hostile("a body without end", receivers.endless, 200),
    Hostile("a long body with a length", sending(head(b"Content-Length: 9999999") + b"x" * 70_000, then=deaf), 200),
    Hostile("a cookie", sending(head(b"Set-Cookie: a=b; Path=/", b"Content-Length: 0"), then=kept), 200),
    Hostile("a NUL and no UTF-8", sending(head(b"Content-Length: 3") + b"\x00\xff\xfe", then=kept), 200),
    Hostile("the same length twice", sending(head(b"Content-Length: 0", b"Content-Length: 0"), then=kept), 200),
]
FAILING = [
    Hostile("a length that is negative", sending(head(b"Content-Length: -1")), None, "bad-answer"),
    Hostile("a length of many digits", sending(head(b"Content-Length: " + b"9" * 5_000)), None, "bad-answer"),
    Hostile("two lengths", sending(head(b"Content-Length: 1", b"Content-Length: 2") + b"xx"), None, "bad-answer"),
    Hostile("chunks of another coding", sending(head(b"Transfer-Encoding: gzip")), None, "bad-answer"),
    Hostile("a chunk that is no number", sending(CHUNKED + b"zz\r\n"), 200, "bad-answer"),
    Hostile("a chunk of absurd size", sending(CHUNKED + b"f" * 40 + b"\r\n"), 200, "bad-answer"),
    Hostile("a trailer that is garbage", sending(CHUNKED + b"0\r\n\x00\x01\r\n\r\n"), 200, "bad-answer"),
    Hostile("a body that ends early", sending(head(b"Content-Length: 9") + b"x"), 200, "bad-answer"),
    Hostile("chunks that end early", sending(CHUNKED + b"5\r\nab"), 200, "bad-answer"),
    Hostile("a head that ends early", sending(b"HTTP/1.1 200 OK\r\nX: "), None, "bad-answer"),
    Hostile("a status of two digits", sending(head(status=b"20 OK")), None, "bad-answer"),
    Hostile("a status of four digits", sending(head(status=b"2000 OK")), None, "bad-answer"),
    Hostile("a status that is no number", sending(head(status=b"\xff\xfe OK")), None, "bad-answer"),
    Hostile("a status of 999", sending(head(b"Content-Length: 0", status=b"999 Odd"), then=deaf), 999),
    Hostile("another protocol", sending(head(status=b"101 Switch")), None, "bad-answer"),
    Hostile("another protocol, named", sending(head(b"Upgrade: x", status=b"101 Switch") + OK), None, "bad-answer"),
    Hostile("informational answers only", sending(head(status=b"100 Go") * 40_000), None, "bad-answer"),
    Hostile("absurdly many headers", sending(head(*[b"X: y"] * 40_000)), None, "bad-answer"),
    Hostile("an absurdly long header", sending(head(b"X: " + b"y" * 300_000)), None, "bad-answer"),
    Hostile("a header without a name", sending(head(b": x")), None, "bad-answer"),
    Hostile("a header with a NUL", sending(head(b"X: \x00")), None, "bad-answer"),
    Hostile("no answer", receivers.hanging_up, None, "bad-answer"),
    Hostile("no HTTP", receivers.garbage, None, "bad-answer"),
    Hostile("silence", receivers.hanging, None, "timeout"),
    Hostile("a wait of absurd length", refused(FAR), 429),
    Hostile("a wait until an absurd day", refused(b"Mon, " + FAR + b" Jan 2026 00:00:00 GMT"), 429),
    Hostile("a wait until an absurd year", refused(b"Mon, 01 Jan " + FAR + b" 00:00:00 GMT"), 429),
    Hostile("a wait until an absurd hour", refused(b"Mon, 01 Jan 2026 " + FAR + b":00:00 GMT"), 429),
    Hostile("a wait that overflows in few letters", refused(b"1 Jan 99999999999 00:00:00 GMT"), 429),
    Hostile("a wait in an absurd zone", refused(b"Mon, 01 Jan 2026 00:00:00 +" + FAR), 429),
    Hostile("a wait that is not ASCII", refused(b"\xb2\xe9\xff"), 429),
    Hostile("a wait that is negative", refused(b"-1"), 429),
    Hostile("a wait of one byte", refused(b","), 429),
]
HOSTILE = [*ACCEPTED, *FAILING]
