"""Sends raw bytes and judges what comes back, many at a time, beside somebody who calls as one should."""

import asyncio
import contextlib
import re
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests import patience
from tests.api.farms import USERS
from tests.hostile.inputs import PLANTED, SPLIT, Hostile

CALLERS = 8
ASK_MOST, BUSY = 10, 503
PAUSE_SECONDS = 0.2
BREATH_SECONDS = 0.3  # the hostile ones are what there is much of
ANSWER_MOST_BYTES = 4_000_000
LAST = re.compile(rb"^(connection: close|content-type: text/event-stream)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes
    body: bytes


@dataclass
class Attack:
    """Hostile requests against one address; one that takes longer than `patience`, in seconds, counts as hung."""

    host: str
    port: int
    patience: float = 60.0
    faults: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)  # by kind and status

    async def run(self, inputs: Iterable[Hostile]) -> None:
        waiting, slow = iter(inputs), set()

        async def work() -> None:
            line = Line(self.host, self.port)
            for hostile in waiting:
                if hostile.slow:  # it has a caller of its own
                    slow.add(asyncio.create_task(self._one(hostile, Line(self.host, self.port))))
                else:
                    await self._one(hostile, line)
            line.hang_up()

        await asyncio.gather(*(work() for _ in range(CALLERS)))
        await asyncio.gather(*slow)

    @property
    def sent(self) -> int:
        return sum(self.answered.values())

    async def _one(self, hostile: Hostile, line: "Line") -> None:
        try:
            answer = await asyncio.wait_for(self._asked(hostile, line), self.patience)
        except TimeoutError:
            self._note(hostile, "hung", "no answer")
        except OSError as error:
            self._note(hostile, "refused", repr(error))
        else:
            self._note(hostile, "hung up" if answer is None else str(answer.status), judge(hostile, answer))

    async def _asked(self, hostile: Hostile, line: "Line") -> Answer | None:
        """A machine that is out of breath is asked again; what cannot be served at all stays a fault."""
        answer = await line.ask(hostile)
        for _ in range(ASK_MOST):
            if answer is None or answer.status != BUSY or b"retry-after" not in answer.head.lower():
                break
            await asyncio.sleep(1)
            answer = await line.ask(hostile)
        return answer

    def _note(self, hostile: Hostile, came: str, fault: str | None) -> None:
        self.answered[f"{hostile.kind} {came}"] += 1
        if fault is not None:
            self.faults.append(f"{fault}: {hostile.kind} {b''.join(hostile.parts)[:400]!r}")


@dataclass
class Line:
    """A connection, for as many requests as both sides keep it open for."""

    host: str
    port: int
    ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, hostile: Hostile) -> Answer | None:
        """The answer; None when the other side hung up before one. Raises OSError when nobody listens."""
        kept, answer = False, None
        try:
            for attempt in range(2):  # one that was kept may have been closed meanwhile: that tells nothing
                kept = self.ends is not None
                self.ends = self.ends or await asyncio.open_connection(self.host, self.port, limit=ANSWER_MOST_BYTES)
                answer = await _asked(*self.ends, hostile)
                if answer is not None or not kept or attempt:
                    return answer
                self.hang_up()
            return answer
        finally:
            if answer is None or hostile.ends or hostile.slow or LAST.search(answer.head):
                self.hang_up()

    def hang_up(self) -> None:
        if self.ends is not None:
            self.ends[1].close()
            self.ends = None


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hostile: Hostile) -> Answer | None:
    with contextlib.suppress(ConnectionError):  # it may hang up in the middle, having answered
        for n, part in enumerate(hostile.parts):
            await asyncio.sleep(PAUSE_SECONDS if n else 0)
            writer.write(part)
            await writer.drain()
        if hostile.ends:
            writer.write_eof()
    return await _heard(reader, is_head=hostile.is_head)


def judge(hostile: Hostile, answer: Answer | None) -> str | None:
    """What is wrong with that answer; None is no answer at all, which is right for what was broken off only."""
    if answer is None:
        return None if hostile.ends else "hung up without a word"
    if not 200 <= answer.status < 500:
        return f"answered {answer.status}"
    if hostile.keyless and answer.status < 400:
        return f"let in with {answer.status}"
    if hostile.slow and answer.status != 408:
        return f"waited for no body and said {answer.status}"
    if f"\r\n{SPLIT}:".lower().encode() in answer.head.lower():
        return "a header was split"
    return "a password came back" if PLANTED.encode() in answer.body else None


async def behave(url: str, key: str, *, until: asyncio.Event) -> int:
    """Make users, lock and free them for as long as the attack goes on; how many times it went as it should.

    Raises AssertionError as soon as one time it does not.
    """
    done = 0
    async with httpx.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=patience.limit(60)
    ) as client:
        while not until.is_set():
            login, lease = uuid.uuid4().hex, {"lease_id": str(uuid.uuid4())}
            user = await _told(client, f"{USERS}/batch", [{"login": login, "password": f"pw-{done}"}])
            path = f"{USERS}/{user['results'][0]['user']['id']}"
            taken = await _told(client, f"{path}/acquire_lock", lease)
            assert taken["password"] == f"pw-{done}"
            freed = await _told(client, f"{path}/release_lock", lease)
            assert freed["lock"] is None
            done += 1
            await asyncio.sleep(BREATH_SECONDS)
    return done


async def _told(client: httpx.AsyncClient, path: str, body: object) -> Any:
    """What is answered with 200. A machine that is out of breath says so by 503 and wants to be asked again."""
    for _ in range(ASK_MOST):
        answer = await client.post(path, json=body)
        if answer.status_code != BUSY:
            break
        await asyncio.sleep(1)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _heard(reader: asyncio.StreamReader, *, is_head: bool) -> Answer | None:
    """The first answer that is final; None when the other side hung up before one."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        length, endless = fields.get(b"content-length"), b"event-stream" in fields.get(b"content-type", b"")
        if is_head or endless:
            body = b""
        else:
            body = await (reader.read() if length is None else reader.readexactly(int(length)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return Answer(int(head.split()[1]), head, body)
