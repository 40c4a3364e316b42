"""The way out is guarded where it connects: on the very address, whatever names and answers say."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Engine

from domain.sealing import KeyRing
from tests import patience
from tests.worker.farms import Farm
from tests.worker.webhooks import receivers
from tests.worker.webhooks.hooks import LOOPBACK, hooks_on
from tests.worker.webhooks.receivers import Receiver, receiving
from worker.webhooks.exchanges import Reply
from worker.webhooks.guarded_client import Outbound
from worker.webhooks.guarded_sockets import by_system

PUBLIC = "93.184.215.14"


def posted(url: str, **options: object) -> Reply:
    with Outbound(timeout_seconds=1.0, **options).client() as client:  # type: ignore[arg-type]
        return client.post(url, headers={}, content=b"{}")


def naming(*addresses: str) -> Callable[[str, int], Sequence[str]]:
    return lambda _host, _port: addresses


HOSTS = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0x7f.1", "2130706433", "0.0.0.0", "0"]


@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_of_loopback_reaches_a_server_there(host: str, receiver: Receiver) -> None:
    reply = posted(f"http://{host}:{receiver.port}/")

    assert reply.error == "forbidden-address"
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_negative_control_the_same_server_is_reached_when_its_network_is_allowed(host: str, receiver: Receiver) -> None:
    reply = posted(f"http://{host}:{receiver.port}/", allowed=(*LOOPBACK, ipaddress.ip_network("::1/128")))

    assert (reply.status, reply.error) == (204, None)
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["::ffff:127.0.0.1"],
        ["100.64.0.1"],
        ["64:ff9b::7f00:1"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
    ],
)
def test_a_name_with_one_address_that_is_not_public_is_not_connected_to_at_all(
    addresses: list[str], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda address, *_, **__: dialled.append(address))

    reply = posted(f"http://innocent.example:{receiver.port}/", resolve=naming(*addresses))

    assert reply.error == "forbidden-address"
    assert dialled == []


def test_a_name_that_changes_between_check_and_connect_gains_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is public, every later one loopback: only what was judged is dialled."""
    answers = iter([[PUBLIC]])
    dialled: list[str] = []

    def dial(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        dialled.append(address[0])
        raise OSError("nobody answers there")

    monkeypatch.setattr(socket, "create_connection", dial)

    reply = posted(f"http://rebinding.example:{receiver.port}/", resolve=lambda *_: next(answers, ["127.0.0.1"]))

    assert dialled == [PUBLIC]
    assert (reply.error or "").startswith("unreachable")
    assert receiver.connections == 0


def test_a_name_is_resolved_once_a_connection_and_judged_each_time(receiver: Receiver) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    outbound = Outbound(allowed=LOOPBACK, timeout_seconds=1.0, resolve=lambda *_: next(answers))
    receiver.behave = receivers.answering(200, Connection="close")
    url = f"http://changing.example:{receiver.port}/"

    with outbound.client() as client:
        first, second = (client.post(url, headers={}, content=b"{}") for _ in range(2))

    assert (first.status, second.error) == (200, "forbidden-address")


def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

        reply = posted(receiver.url, allowed=LOOPBACK)

        assert (reply.status, proxy.connections) == (204, 0)


@pytest.mark.parametrize("behave", [receivers.hanging, receivers.dribbling, receivers.dribbling_headers])
def test_one_second_is_one_second_whatever_a_receiver_does(behave: receivers.Behaviour, receiver: Receiver) -> None:
    receiver.behave = behave
    began = time.monotonic()

    reply = posted(receiver.url, allowed=LOOPBACK)

    assert reply.error == "timeout"
    assert 0.9 < time.monotonic() - began < patience.limit(1.5)


def test_a_receiver_that_does_not_take_the_request_has_no_more_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        began = time.monotonic()

        with Outbound(allowed=LOOPBACK, timeout_seconds=1.0).client() as client:
            reply = client.post(url, headers={}, content=b"x" * 50_000_000)

        assert reply.error == "timeout"
        assert time.monotonic() - began < patience.limit(1.5)


def test_a_name_service_that_hangs_has_no_more_time_either() -> None:
    release = threading.Event()

    def hang(_host: str, _port: int) -> Sequence[str]:
        release.wait(patience.limit(30))
        return [PUBLIC]

    began = time.monotonic()
    reply = posted("http://slow.example/", resolve=hang)
    release.set()

    assert reply.error == "timeout"
    assert time.monotonic() - began < patience.limit(1.5)


def test_a_name_that_nobody_knows_is_unreachable() -> None:
    assert (posted("http://nobody.invalid/").error or "").startswith("unreachable")


def test_the_next_address_is_tried_when_one_does_not_answer(receiver: Receiver) -> None:
    reply = posted(
        f"http://two.example:{receiver.port}/", allowed=LOOPBACK, resolve=naming("127.99.99.99", "127.0.0.1")
    )

    assert reply.status == 204


def test_the_system_resolves_names_to_literal_addresses() -> None:
    assert "127.0.0.1" in by_system("localhost", 80)


def test_tls_goes_to_the_judged_address_and_verifies_the_name(tls: tuple[Receiver, ssl.SSLContext]) -> None:
    receiver, context = tls
    options = {"allowed": LOOPBACK, "resolve": naming("127.0.0.1"), "ssl_context": context}

    right = posted(f"https://hooks.example:{receiver.port}/", **options)
    wrong = posted(f"https://other.example:{receiver.port}/", **options)

    assert (right.status, right.error) == (204, None)
    assert wrong.status is None
    assert (wrong.error or "").startswith("unreachable")
    assert "certificate" in (wrong.error or "").lower()
    assert receiver.received[0].headers["host"] == f"hooks.example:{receiver.port}"


def test_a_certificate_that_nobody_vouches_for_is_refused(tls: tuple[Receiver, ssl.SSLContext]) -> None:
    receiver, _ = tls

    reply = posted(f"https://hooks.example:{receiver.port}/", allowed=LOOPBACK, resolve=naming("127.0.0.1"))

    assert reply.status is None
    assert receiver.received == []


def test_a_webhook_to_this_machine_is_refused_and_listed_as_refused(
    farm: Farm, engine: Engine, ring: KeyRing, receiver: Receiver
) -> None:
    hooks = hooks_on(engine, ring, allowed=())
    webhook_id = hooks.create(receiver.url)
    farm.change(1)

    hooks.turn()

    assert receiver.connections == 0
    assert [(d.status, d.error) for d in hooks.deliveries(webhook_id)] == [(None, "forbidden-address")]
