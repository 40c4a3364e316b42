"""A webhook's connection is its own, is kept only while it is clean, and ends with the run."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import psutil
import pytest

from tests import patience
from tests.patience import until
from tests.worker.farms import Farm
from tests.worker.webhooks.hooks import LOOPBACK, Hooks
from tests.worker.webhooks.hostile_answers import OK, head
from tests.worker.webhooks.receivers import Handler, Receiver, answering, receiving, routed
from worker.webhooks.exchanges import Target
from worker.webhooks.guarded_client import Client, Outbound


@pytest.fixture
def client() -> Iterator[Client]:
    with Outbound(allowed=LOOPBACK, timeout_seconds=1.0).client() as client:
        yield client


def post(client: Client, url: str) -> tuple[int | None, str | None]:
    reply = client.post(url, headers={}, content=b"{}")
    return reply.status, reply.error


def open_to(receiver: Receiver) -> int:
    """How many connections this process has open to it; those that it accepted itself have it as local address."""
    found = psutil.Process().net_connections("tcp")
    return sum(1 for each in found if each.raddr and each.raddr.port == receiver.port and each.status == "ESTABLISHED")


def test_webhooks_at_the_same_origin_never_have_a_connection_in_common(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    paths = [f"/{name}" for name in "abcd"]
    for path in paths:
        hooks.create(receiver.url + path)
    farm.change(5)

    hooks.turn()
    farm.change(5)
    hooks.turn()

    used = [{each.client for each in receiver.received if each.path.endswith(path)} for path in paths]
    assert [len(clients) for clients in used] == [2] * 4  # one a run
    assert len(set.union(*used)) == 8


def test_a_run_keeps_one_connection_open_and_none_when_it_has_ended(
    farm: Farm, hooks: Hooks, receiver: Receiver
) -> None:
    during: list[int] = []

    def behave(handler: Handler) -> None:
        during.append(open_to(receiver))
        handler.answer(204)

    receiver.behave = behave
    hooks.create(receiver.url)
    farm.change(5)

    hooks.turn()

    assert during == [1] * 5
    assert open_to(receiver) == 0


def test_a_second_answer_that_comes_later_is_never_taken_for_that_of_the_next_request(
    client: Client, receiver: Receiver
) -> None:
    sent = threading.Event()

    def twice(handler: Handler) -> None:
        handler.wfile.write(OK)
        handler.wfile.write(OK)
        sent.set()

    def slowly(handler: Handler) -> None:
        handler.wfile.write(OK)
        until(lambda: len(first) == 1)
        handler.wfile.write(OK)
        sent.set()

    for behave in (twice, slowly):
        first: list[object] = []
        receiver.behave = behave
        sent.clear()
        first.append(post(client, receiver.url))
        assert sent.wait(patience.limit(10))
        before = receiver.connections
        receiver.behave = answering(503)

        second = post(client, receiver.url)

        assert (first[0], second) == ((200, None), (503, None))
        assert receiver.connections == before + 1


def test_an_end_that_comes_while_it_is_idle_costs_no_delivery(client: Client, receiver: Receiver) -> None:
    def end(handler: Handler) -> None:
        handler.answer(204)
        handler.close_connection = True

    receiver.behave = end

    for _ in range(3):
        assert post(client, receiver.url) == (204, None)
        until(lambda: client._kept is None or not client._kept.ready(Target.of(receiver.url)))

    assert receiver.connections == 3


def test_a_connection_of_another_origin_is_never_used(client: Client, receiver: Receiver) -> None:
    with receiving(answering(500)) as other:
        answers = [post(client, each.url) for each in (receiver, other, receiver)]

        assert answers == [(204, None), (500, None), (204, None)]
        assert (receiver.connections, other.connections) == (2, 1)
        assert open_to(receiver) + open_to(other) == 1


def test_a_cookie_is_sent_to_nobody(farm: Farm, hooks: Hooks, receiver: Receiver) -> None:
    receiver.behave = routed(
        a=answering(204, Set_Cookie="session=a; Path=/", WWW_Authenticate="Basic realm=x"), b=answering(204)
    )
    for path in ("/a", "/b"):
        hooks.create(receiver.url + path)
    farm.change(3)

    hooks.turn()

    expected = {"host", "content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature"}
    assert len(receiver.received) == 6
    assert {frozenset(each.headers) for each in receiver.received} == {frozenset({*expected, "content-length"})}


def test_the_credentials_of_a_url_are_not_sent(client: Client, receiver: Receiver) -> None:
    url = receiver.url.replace("//", "//user:pass@")

    assert post(client, url) == (204, None)

    (received,) = receiver.received
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert "user" not in str(received.headers)


def test_over_tls_a_client_keeps_its_connection_and_no_session_is_resumed_by_another(
    tls: tuple[Receiver, ssl.SSLContext],
) -> None:
    receiver, context = tls
    resumed: list[bool | None] = []

    def behave(handler: Handler) -> None:
        resumed.append(handler.connection.session_reused)
        handler.answer(204)

    receiver.behave = behave
    outbound = Outbound(allowed=LOOPBACK, resolve=lambda *_: ["127.0.0.1"], ssl_context=context)
    url = f"https://hooks.example:{receiver.port}/"

    for number in range(1, 4):
        with outbound.client() as client:
            assert [post(client, url) for _ in range(4)] == [(204, None)] * 4
            assert receiver.connections == number

    assert resumed == [False] * 12


def test_over_tls_what_is_left_behind_an_answer_costs_the_connection(tls: tuple[Receiver, ssl.SSLContext]) -> None:
    receiver, context = tls
    outbound = Outbound(allowed=LOOPBACK, resolve=lambda *_: ["127.0.0.1"], ssl_context=context)
    url = f"https://hooks.example:{receiver.port}/"
    sent = threading.Event()

    def twice(handler: Handler) -> None:
        handler.wfile.write(OK)
        handler.wfile.write(OK)
        sent.set()

    receiver.behave = twice
    with outbound.client() as client:
        first = post(client, url)
        assert sent.wait(patience.limit(10))
        receiver.behave = answering(503)

        assert (first, post(client, url)) == ((200, None), (503, None))

    assert receiver.connections == 2


def test_a_request_that_was_not_taken_whole_is_not_acknowledged_whatever_is_answered(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_early() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1)
                connection.sendall(OK)

        thread = threading.Thread(target=answer_early)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"

        reply = client.post(url, headers={}, content=b"x" * 50_000_000)
        thread.join()

    assert reply.error is not None
    assert reply.error.partition(":")[0] in {"bad-answer", "unreachable"}


def test_a_refusal_before_the_request_was_taken_whole_is_what_counts(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        refused = threading.Event()

        def refuse() -> None:
            connection, _ = server.accept()
            connection.recv(1)
            connection.sendall(head(b"Content-Length: 0", status=b"413 Too Long"))
            connection.close()
            refused.set()

        threading.Thread(target=refuse).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"

        reply = client.post(url, headers={}, content=b"x" * 50_000_000)

        assert refused.wait(patience.limit(10))
    assert (reply.status, reply.error) == (413, None)


BAD_URLS = [
    "ftp://127.0.0.1/",
    "http:///hook",
    "http://[::1/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:x/",
    "http://127.0.0.1/\x01",
    "http://127.0.0.1/a b",
    "http://127.0.0.1/\xe4",
    "http://ex\xe4mple/",
    "https://.example/",
    f"http://{'a' * 64}.example/",
    "http://a..example/",
    "",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_cannot_be_sent_to_is_a_reply_like_any_other(client: Client, url: str) -> None:
    status, error = post(client, url)

    assert status is None
    assert (error or "").partition(":")[0] in {"bad-url", "unreachable"}
