"""A small HTTP/1.1 client over asyncio streams: a thousand connections must cost the service, not the client."""

import asyncio
import json
import resource
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

OPEN_FILES = 8_192


def allow_many() -> None:
    """Let this process and those it starts have thousands of connections; many systems allow 1,024 unless asked."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))


class Connection:
    """One kept-alive connection, one request at a time."""

    def __init__(self, base_url: str, *, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(base_url)
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()

    def abort(self) -> None:
        """Hang up at once, in the middle of whatever is going on."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:  # noqa: ANN401  -- any JSON
        return await self.request("POST", path, body)

    async def get(self, path: str) -> tuple[int, Any]:
        return await self.request("GET", path)

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:  # noqa: ANN401  -- any JSON
        """Status and JSON of the answer."""
        if self._writer is None:
            await self._open()
        assert self._writer is not None
        payload = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(payload)}\r\n"
        kind = "Content-Type: application/json\r\n" if payload else ""
        self._writer.write(f"{head}{kind}{self._headers}\r\n".encode() + payload)
        return await self._answer()

    async def _open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def _answer(self) -> tuple[int, Any]:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        content = await self._reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.abort()
        return status, json.loads(content) if content else None
