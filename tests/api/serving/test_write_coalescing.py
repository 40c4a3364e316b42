"""An answer leaves in one piece, and what nothing follows leaves by itself."""

import asyncio
import socket
from collections.abc import Callable, Coroutine

from api.serving.write_coalescing import Cork
from tests import patience
from tests.api.servers import ApiProcess

END = b"(closed)"


class Wire(asyncio.Transport):
    """What was sent, piece by piece, and when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.closed = True
        self.pieces.append(END)

    def is_closing(self) -> bool:
        return self.closed


def pieces(act: Callable[[Cork], Coroutine[object, object, object]], wire: Wire | None = None) -> list[bytes]:
    async def run() -> list[bytes]:
        sent = wire or Wire()
        await act(Cork(sent))
        return sent.pieces

    return asyncio.run(run())


def test_two_writes_of_one_turn_are_sent_together() -> None:
    async def act(cork: Cork) -> None:
        cork.write(b"head, ")
        cork.write(b"body")

    assert pieces(act) == [b"head, body"]


def test_a_single_write_is_sent_at_the_end_of_the_turn() -> None:
    async def act(cork: Cork) -> None:
        cork.write(b"head, ")
        await asyncio.sleep(0)
        cork.write(b"first, ")
        await asyncio.sleep(0)
        cork.write(b"second")
        await asyncio.sleep(0)

    assert pieces(act) == [b"head, ", b"first, ", b"second"]


def test_joined_writes_are_not_sent_again_at_the_end_of_the_turn() -> None:
    async def act(cork: Cork) -> None:
        for piece in (b"1", b"2", b"3", b"", b"4", b"5"):
            cork.write(piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert pieces(act) == [b"12", b"3", b"45"]


def test_closing_sends_what_is_held_first() -> None:
    async def act(cork: Cork) -> None:
        cork.write(b"the last word")
        cork.close()

    assert pieces(act) == [b"the last word", END]


def test_nothing_is_sent_to_a_client_that_has_hung_up_meanwhile() -> None:
    wire = Wire()

    async def act(cork: Cork) -> None:
        cork.write(b"too late")
        wire.close()
        await asyncio.sleep(0)

    assert pieces(act, wire) == [END]


def test_head_and_body_of_a_response_arrive_in_one_read(process: ApiProcess) -> None:
    process.start()
    with socket.create_connection(("127.0.0.1", process.settings.port), timeout=patience.limit(30)) as client:
        for _ in range(20):
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            head, _, body = client.recv(65_536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert body.startswith(b"{")
