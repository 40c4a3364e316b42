"""The listening sockets of several API processes: bound once, by their parent."""

import errno
import socket

BACKLOG = 2_048  # as uvicorn's
NO_SUCH_FAMILY = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}  # localhost resolves to IPv6 even on hosts without IPv6


def bind(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of the host, on one port. Raises OSError with the host, the port and the reason."""
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, address) for family, *_, address in found):
            picked = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_listening(family, (address[0], picked, *address[2:])))
            except OSError as error:
                if error.errno not in NO_SUCH_FAMILY:
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
    """The next waiting connection, or None."""
    try:
        return listening.accept()[0]
    except OSError:  # none waits, the client has gone, or no file is left: then it waits for the next check
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
