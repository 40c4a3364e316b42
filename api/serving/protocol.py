"""uvicorn's protocol with two changes: every body is read, and no refusal is sent before an earlier response.

llhttp stops at a head that offers another protocol (`Upgrade: h2c`, sent with every call by `curl --http2`, the JDK's
HttpClient and Ktor) and takes the rest as data of that protocol: the body is lost, and a release by lease becomes a
bare release. A server may ignore such an offer (RFC 9110, 7.8). This one parses the head again without the offer.
"""

import asyncio
import json

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.http import errors, random_ids, request_ids, security_headers
from api.serving.write_coalescing import Cork

OFFER = b"upgrade"
TUNNEL = b"CONNECT"


class Protocol(HttpToolsProtocol):
    """uvicorn's, with joined writes. A connection that sends malformed HTTP gets a 400 and is closed."""

    _refusal: bytes | None = None  # once set, no more of this connection is read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Cork(transport))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._refusal is not None:
            return
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse()

    def eof_received(self) -> None:
        """A client that stops sending within a body may still read, so it gets a 400."""
        if self._refusal is None and not self.pipeline and self._is_cut():
            self._refuse()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.headers = []  # trailers are collected here, and must not become headers of the call

    def on_response_complete(self) -> None:
        was_last = not self.pipeline
        super().on_response_complete()
        if was_last and self._refusal is not None:
            self._hang_up(self._refusal)

    def _should_upgrade(self) -> bool:
        """True keeps uvicorn from serving a head with an offer; `_parse` feeds it the same head without the offer."""
        return True

    def _parse(self, data: bytes | memoryview) -> None:
        """Feed the parser; after a head with an offer, feed that head without the offer, then the rest."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = memoryview(data)[offer.args[0] :]
                self._parse_again()
            else:
                return

    def _parse_again(self) -> None:
        """Parse the current head without its offer. Raises HttpParserError for CONNECT, which needs the upgrade."""
        method = self.parser.get_method()
        if method == TUNNEL:
            raise httptools.HttpParserError("CONNECT")
        head = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        head += [b"%b: %b" % (name, value) for name, value in self.scope["headers"] if name != OFFER]
        # The stopped parser treats a connection without keep-alive as finished, and would skip the rest.
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(b"\r\n".join([*head, b"", b""]))

    def _is_cut(self) -> bool:
        """Whether the latest call still waits for its body."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    def _refuse(self) -> None:
        """Answer 400 after the responses of earlier calls: sent before, it would be taken for one of theirs."""
        self.logger.warning("Invalid HTTP request received.")
        is_cut = self._is_cut()
        self._refusal = self._document(is_cut=is_cut)
        if self.pipeline:
            if is_cut:
                self.pipeline.popleft()  # the latest call: it never starts
        elif is_cut and self.cycle.response_started:
            self.transport.close()
        elif is_cut or self.cycle is None or self.cycle.response_complete:
            self._hang_up(self._refusal)

    def _document(self, *, is_cut: bool) -> bytes:
        path = str(self.scope.get("path", "/")) if self.scope else "/"
        return json.dumps(errors.incomplete(path) if is_cut else errors.malformed(path)).encode()

    def _hang_up(self, refusal: bytes) -> None:
        headers = [
            (b"content-type", errors.MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(refusal)),
            (b"connection", b"close"),
            (request_ids.HEADER, random_ids.new_hex().encode()),
            *self.server_state.default_headers,
            *security_headers.DATA,
        ]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[400] + head + b"\r\n" + refusal)
        self.transport.close()
