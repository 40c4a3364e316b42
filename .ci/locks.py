"""What the files under requirements pin."""  # noqa: INP001  -- for the scripts beside it

import re
from collections.abc import Iterator
from dataclasses import dataclass

PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)(?:\[[a-z,]+\])?==(?P<version>[^\s;]+)(?P<rest>.*(?:\n .*)*)", re.MULTILINE)
WHEEL = re.compile(r"--hash=sha256:([0-9a-f]{64})")
VIA = re.compile(r"^ +#(?: via)? +(?!via$)(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Pin:
    """One version of a library; another Python may have another. `wanted_by` are names of others, or the project."""

    name: str
    version: str
    hashes: tuple[str, ...]
    wanted_by: tuple[str, ...]


def pins(lock: str) -> Iterator[Pin]:
    for found in PIN.finditer(lock):
        rest = found["rest"]
        yield Pin(found["name"], found["version"], tuple(WHEEL.findall(rest)), tuple(VIA.findall(rest)))
