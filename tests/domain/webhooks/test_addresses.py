"""Which addresses may be sent to."""

from ipaddress import ip_network

import pytest

from domain.webhooks.addresses import named_privately, permitted

FORBIDDEN = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.254",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "100::1",
    "4000::1",
    "localhost",
    "",
    "127.1",
    "0x7f000001",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_what_is_not_public_may_not_be_sent_to(address: str) -> None:
    assert not permitted(address, allowed=())


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_may(address: str) -> None:
    assert permitted(address, allowed=())


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.2.0.1", False),
        ("fd00:1::5", True),
        ("fd00:2::5", False),
        ("127.0.0.1", False),
    ],
)
def test_the_networks_that_are_named_may_be_sent_to_and_no_others(address: str, allowed: bool) -> None:  # noqa: FBT001
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))

    assert permitted(address, allowed=networks) is allowed


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("169.254.169.254", True),
        ("8.8.8.8", False),
        ("example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_some_hosts_say_by_themselves_that_they_are_not_public(host: str, private: bool) -> None:  # noqa: FBT001
    assert named_privately(host, allowed=()) is private


def test_localhost_goes_with_the_network_it_stands_for() -> None:
    assert not named_privately("localhost", allowed=(ip_network("127.0.0.0/8"),))
