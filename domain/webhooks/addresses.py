"""Which addresses may be sent to: the public ones, and networks that the operator has named.

Whoever may register a webhook decides where this farm's machines connect to. Without this law that would open their
own network to them: databases on loopback, cloud metadata on 169.254.169.254, whatever trusts its neighbours.
Source: the special-purpose address registries of IANA (RFC 6890), and OWASP's SSRF prevention cheat sheet.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

UNICAST = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 address really meant
# Named here, for Python's own lists of what is global have changed between versions: addresses in which others hide
# (6to4 and Teredo, whose relays would unwrap them), and those of protocols, which are no hosts.
NO_HOSTS = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2002::/16"),
    IPv6Network("2001::/32"),
)


def permitted(address: str, *, allowed: Sequence[Network]) -> bool:
    """Whether this literal address may be connected to. What is no address may not."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    meant = found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
    return any(meant in network for network in allowed) or _public(meant)


def named_privately(host: str, *, allowed: Sequence[Network]) -> bool:
    """Whether the host of a URL says by itself that it is not public; most names have to be resolved to know."""
    bare = host.strip("[]").rstrip(".").lower()
    if bare == "localhost" or bare.endswith(".localhost"):
        return not permitted("127.0.0.1", allowed=allowed)
    try:
        ip_address(bare)
    except ValueError:
        return False
    return not permitted(bare, allowed=allowed)


def _public(address: IPv4Address | IPv6Address) -> bool:
    if address in NAT64:
        return _public(IPv4Address(address.packed[-4:]))
    if address.version == UNICAST.version and address not in UNICAST:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in NO_HOSTS)
