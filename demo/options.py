"""What whoever starts the demo may choose."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from demo.servers import OWN_PREFIX, Server


@dataclass(frozen=True)
class Options:
    """`server` is None where the demo runs one of its own."""

    seconds: float
    clients: int
    server: Server | None


def parse(arguments: Sequence[str] | None = None) -> Options:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if (chosen.api_url is None) != (chosen.redis_url is None):
        parser.error("--api-url and --redis-url go together")
    server = Server(chosen.api_url.rstrip("/"), chosen.redis_url, chosen.redis_prefix) if chosen.api_url else None
    return Options(seconds=chosen.seconds, clients=chosen.clients, server=server)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Load 5,000 bot users, let clients fight for them and die, and prove that nothing was lost.",
        epilog="Without addresses it runs a Botfarm of its own and takes it down again. Exit code 0: all laws held.",
    )
    parser.add_argument("--seconds", type=_positive, default=20.0, help="how long the clients work (20)")
    parser.add_argument("--clients", type=_several, default=16, help="how many there are; every fourth dies (16)")
    parser.add_argument("--api-url", help="a running API, http://host:port; the users stay there")
    parser.add_argument("--redis-url", help="the Redis of its event stream")
    parser.add_argument("--redis-prefix", default=OWN_PREFIX, help=f"the prefix of its keys ({OWN_PREFIX})")
    return parser


def _positive(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return number


def _several(text: str) -> int:
    if (number := int(text)) < 2:  # noqa: PLR2004  -- one dies, one lives
        raise argparse.ArgumentTypeError("it takes two clients at least")
    return number
