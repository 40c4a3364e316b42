"""The sockets on which several API processes are reached: bound once, by their parent."""

import errno
import socket

BACKLOG = 2_048  # as uvicorn's
NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}  # localhost has an IPv6 address where there is no IPv6


def bind(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of the host, on one port. Raises OSError that says what cannot be had."""
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address) for family, *_, address in found):
            picked = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_listening(family, (address[0], picked, *address[2:])))
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                failure = error
    except OSError as error:
        failure = error
    else:
        if sockets:
            return sockets
    for made in sockets:
        made.close()
    reason = (failure.strerror if failure else None) or "it has no address"
    raise OSError(f"cannot listen on {host}:{port}: {reason.lower()}")


def url(sockets: list[socket.socket]) -> str:
    host, port = sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def accept(listening: socket.socket) -> socket.socket | None:
    """The next connection that waits, if one does."""
    try:
        return listening.accept()[0]
    except OSError:  # nobody waits, has gone again, or there are no files left: then it waits for the next look
        return None


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    made.settimeout(0)
    return made
