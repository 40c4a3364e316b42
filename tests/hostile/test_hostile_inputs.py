"""Ten thousand hostile requests: each is refused or served, none is a defect, and others are served meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from domain.configuration.settings import Settings
from tests.api.auth.keyrings import OWN, new_key
from tests.api.farms import farming
from tests.api.servers import ApiProcess
from tests.hostile.callers import Attack, behave
from tests.hostile.inputs import PLANTED, SPLIT, Hostile, inputs
from tests.patience import eventually
from tests.secrets import watching

INPUTS, SLOW = 10_000, 40
KINDS = {"unicode", "number", "deep", "large", "split", "path", "query", "forged", "short", "garbage", "slow"}
REQUEST = b"GET / HTTP/1.1\r\nHost: farm\r\n\r\n"
WHOLE = Hostile("whole", (REQUEST,))
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def process(settings: Settings, tmp_path: Path) -> Iterator[ApiProcess]:
    """`python -m api` that wants keys."""
    process = ApiProcess(settings, tmp_path / "api.log")
    process.launch(BOTFARM_AUTH="keys")
    assert eventually(process.ready, seconds=60), process.said()
    yield process
    process.kill()


@pytest.mark.timeout(900)
def test_hostile_inputs_are_no_defect_and_keep_nobody_else_from_being_served(
    process: ApiProcess, settings: Settings
) -> None:
    with farming(settings) as farm:
        good, limited = new_key(farm, "good", "admin"), new_key(farm, "hostile", "admin", projects=[OWN])
    attack, served = asyncio.run(attacked(process.url, inputs(limited, count=INPUTS, slow=SLOW), good=good))

    assert attack.faults == [], attack.answered
    assert attack.sent == INPUTS
    assert {kind.split()[0] for kind in attack.answered} == KINDS
    assert served > 10, "the well-behaved one was hardly served"
    assert httpx.get(f"{process.url}/readyz").status_code == 200
    assert "request_failed" not in process.said()
    assert "Traceback" not in process.said()
    assert [key in process.said() for key in (good[3:], limited[3:], PLANTED)] == [False] * 3
    assert list(watching.leaks_of_logs(process.said())) == []


async def attacked(url: str, hostile: Iterator[Hostile], *, good: str) -> tuple[Attack, int]:
    """What came of it, and how often the well-behaved one was served meanwhile."""
    address, over = urlsplit(url), asyncio.Event()
    assert address.hostname
    assert address.port
    attack = Attack(address.hostname, address.port)
    behaving = asyncio.create_task(behave(url, good, until=over))
    await attack.run(hostile)
    over.set()
    return attack, await behaving


@contextlib.asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """The port of a server that says this to everything and hangs up, or for None says nothing at all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("hostile", "answer", "fault"),
    [
        (WHOLE, b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "answered 500"),
        (WHOLE, b"HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n", "answered 503"),
        (WHOLE, None, "no answer"),
        (WHOLE, b"", "hung up without a word"),
        (WHOLE, OK + b"Content-Length: 9\r\n\r\nshort", "hung up without a word"),
        (WHOLE, OK + f"a: b\r\n{SPLIT}: yes\r\n\r\n".encode(), "a header was split"),
        (WHOLE, OK + f"\r\n{PLANTED}".encode(), "a password came back"),
        (Hostile("forged", (REQUEST,), keyless=True), OK + b"\r\n", "let in with 200"),
        (Hostile("slow", (REQUEST,), slow=True), OK + b"\r\n", "waited for no body and said 200"),
    ],
    ids=lambda told: told if isinstance(told, str) else "",
)
def test_a_fault_is_found(hostile: Hostile, answer: bytes | None, fault: str) -> None:
    async def attacked_with() -> Attack:
        async with answering(answer) as port:
            attack = Attack("127.0.0.1", port, patience=60 if answer is not None else 0.5)
            await attack.run([hostile])
        return attack

    attack = asyncio.run(attacked_with())

    assert [found.partition(":")[0] for found in attack.faults] == [fault]


@pytest.mark.parametrize(
    ("hostile", "answer"),
    [
        (WHOLE, OK + b"\r\nfine"),
        (WHOLE, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n"),
        (Hostile("broken", (REQUEST,), ends=True), b""),
        (Hostile("forged", (REQUEST,), keyless=True), b"HTTP/1.1 401 No\r\n\r\n"),
    ],
)
def test_what_is_right_is_no_fault(hostile: Hostile, answer: bytes) -> None:
    async def attacked_with() -> Attack:
        async with answering(answer) as port:
            attack = Attack("127.0.0.1", port)
            await attack.run([hostile])
        return attack

    attack = asyncio.run(attacked_with())

    assert (attack.faults, attack.sent) == ([], 1)


def test_somebody_who_is_not_served_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused() -> None:
        async with answering(b"HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n") as port:
            await behave(f"http://127.0.0.1:{port}", "any", until=asyncio.Event())

    monkeypatch.setattr("tests.hostile.callers.ASK_MOST", 1)

    with pytest.raises(AssertionError):
        asyncio.run(refused())
