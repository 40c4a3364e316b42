"""Where API and worker listen, and how they are reached from this machine."""

from dataclasses import dataclass

from standalone import ports
from standalone.options import Options
from standalone.output import say

ALL_OWN = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  -- recognised, not bound


@dataclass(frozen=True)
class Address:
    """What a program listens on."""

    host: str
    port: int

    @property
    def reached(self) -> tuple[str, int]:
        """Where to connect; a server that listens everywhere is reached on the loopback."""
        return ALL_OWN.get(self.host, self.host), self.port

    @property
    def url(self) -> str:
        host, port = self.reached
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def api(options: Options) -> Address:
    """A port asked for by name is had or refused; the usual one makes way. Raises StandaloneError."""
    host, usual = options.host, options.settings.port
    if options.port is not None:
        return Address(host, ports.insist(options.port, host=host, setting="--port"))
    if options.named("port"):
        return Address(host, ports.insist(usual, host=host, setting="BOTFARM_PORT"))
    return Address(host, preferred(usual, host=host, who="the API"))


def worker(options: Options) -> Address:
    """Likewise; a run that keeps nothing takes any port."""
    host, usual = options.settings.worker_host, options.settings.worker_port
    if options.named("worker_port"):
        return Address(host, ports.insist(usual, host=host, setting="BOTFARM_WORKER_PORT"))
    return Address(host, ports.free(host=host) if options.ephemeral else preferred(usual, host=host, who="the worker"))


def preferred(port: int, *, who: str, host: str = ports.LOOPBACK) -> int:
    """The port, or a free one when it is taken, and then that is said."""
    if (reason := ports.refusal(port, host=host)) is None:
        return port
    other = ports.free(host=host)
    say(f"port {port}: {reason}; {who} gets {other}")
    return other
