"""Which TCP ports the parts listen on."""

import secrets
import socket

from standalone.errors import StandaloneError

LOOPBACK = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections: a client that retries while its server
# restarts could otherwise be given the server's own port and keep it from coming back.
LOWEST, HIGHEST = 20_000, 32_767
ATTEMPTS = 200
_given: set[int] = set()  # not yet listened on, perhaps: never give one twice


def refusal(port: int, *, host: str = LOOPBACK) -> str | None:
    """Why nothing can listen there now; None when something can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def free(*, host: str = LOOPBACK) -> int:
    """A port nobody listens on. Raises StandaloneError when there is none."""
    reason: str | None = None
    for _ in range(ATTEMPTS):
        port = LOWEST + secrets.randbelow(HIGHEST - LOWEST + 1)
        if port not in _given and (reason := refusal(port, host=host)) is None:
            _given.add(port)
            return port
    raise StandaloneError(f"cannot listen on any port of {host}: {reason}")


def insist(port: int, *, host: str, setting: str) -> int:
    """The port that was asked for by name, or any free one for 0. Raises StandaloneError when it is taken."""
    if port == 0:
        return free(host=host)
    if (reason := refusal(port, host=host)) is not None:
        raise StandaloneError(f"cannot listen on {host}:{port}: {reason} (choose another {setting}, 0 for any)")
    return port
