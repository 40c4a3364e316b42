"""What the command line of the benchmark says."""

import argparse
import importlib.util
from pathlib import Path

PARTS = (
    "changes",
    "contention",
    "events",
    "handover",
    "growth",
    "plans",
    "reads",
    "costs",
)  # modules; those not there are left out
OUTPUT = Path("docs/performance")
PEERS = ("botfarm", "plain", "pgbench", "etcd")
ROUNDS, SECONDS = 3, 10.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 1.0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """`parts` as a list, `without` as a set of peers, `rounds` and `seconds` as chosen or as fit `quick`."""
    options = _parser().parse_args(arguments)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    options.without = frozenset(options.without or ())
    return options


def existing() -> list[str]:
    return [name for name in PARTS if importlib.util.find_spec(f"benchmarks.parts.{name}") is not None]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Botfarm side by side with what one would pick instead.",
        epilog="DATABASE_URL and REDIS_URL name servers to measure on; without them it starts its own.",
    )
    parser.add_argument("--parts", type=_parts, default=existing(), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=_positive, help=f"how often all is measured ({ROUNDS})")
    parser.add_argument("--seconds", type=_seconds, help=f"length of each measured stretch ({SECONDS:.0f})")
    parser.add_argument("--quick", action="store_true", help="everything small, to see that it works")
    parser.add_argument("--without", action="append", choices=PEERS[1:], help="leave this peer out; may be repeated")
    parser.add_argument("--output", type=Path, help=f"where JSON and charts go ({OUTPUT}; with --quick nowhere)")
    return parser


def _parts(text: str) -> list[str]:
    parts = [name.strip() for name in text.split(",") if name.strip()]
    if missing := [name for name in parts if name not in existing()]:
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(missing)}; there are {', '.join(existing())}")
    return parts


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _seconds(text: str) -> float:
    if (number := float(text)) < 1:
        raise argparse.ArgumentTypeError("a stretch lasts a second or more")
    return number
