"""Look up every pinned version among the known vulnerabilities: `audit.py [OPTIONS OF PIP-AUDIT]`.

Fails when one is vulnerable, and when only some could be looked up. Where the database cannot be reached at all it says
so, loudly, and passes, for a change must be able to land without a network; BOTFARM_AUDIT=required makes that fail too.
"""  # noqa: INP001  -- a script, run by its path

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from locks import Pin, pins

ROOT = Path(__file__).parent.parent
LOCKS = ROOT / "requirements"
AUDIT = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
UNREACHABLE = ("ConnectionError", "SSLError", "ServiceError", "ConnectTimeout", "ReadTimeout", "Failed to resolve")
BANNER = "=" * 80
UNKNOWN = "NOT AUDITED: no database of advisories was reached; nothing is known of these versions."
SECONDS_MOST = 300


class Unaudited(Exception):  # noqa: N818  -- a state of affairs
    """The database of advisories could not be reached: nothing was looked up."""


def spread(pinned: Iterable[Pin]) -> list[str]:
    """Requirements files that together hold every version once, and each no name twice.

    They have no markers: pip-audit would look up only what this Python would install.
    """
    files: list[dict[str, str]] = []
    for pin in sorted(set(pinned), key=lambda pin: (pin.name, pin.version)):
        line = " ".join([f"{pin.name}=={pin.version}", *(f"--hash=sha256:{content}" for content in pin.hashes)])
        file = next((file for file in files if pin.name not in file), None)
        if file is None:
            file = {}
            files.append(file)
        file[pin.name] = line
    return ["\n".join(file.values()) for file in files]


def look_up(pinned: Iterable[Pin], *options: str) -> list[Any]:
    """What pip-audit tells of every version. Raises Unaudited."""
    found: list[Any] = []
    for text in spread(pinned):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(text)
            file.flush()
            found += _report([*AUDIT, "--format", "json", "--timeout", "10", "-r", file.name, *options])["dependencies"]
    return found


def _report(command: list[str]) -> Mapping[str, Any]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MOST, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as late:
        raise Unaudited from late
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        if any(word in done.stderr for word in UNREACHABLE):
            raise Unaudited from None
        raise SystemExit(f"audit: pip-audit failed\n{done.stderr}") from None
    return report


def faults(report: Sequence[Any], *, passed_over: Mapping[str, str]) -> list[str]:
    """What must not be so: vulnerable versions, versions that are not known there, and exceptions that are not needed.

    Raises Unaudited when not one is known: then it was no database that answered, but something in between.
    """
    known = {(found["name"], found["version"]): found["vulns"] for found in report if "vulns" in found}
    if not known:
        raise Unaudited
    skipped = sorted({f"{found['name']}: {found['skip_reason']}" for found in report if "vulns" not in found})
    found: list[str] = []
    used: set[str] = set()
    for (name, version), vulnerabilities in known.items():
        for vulnerability in vulnerabilities:
            ids = {vulnerability["id"], *vulnerability.get("aliases", [])}
            used |= ids & passed_over.keys()
            if not ids & passed_over.keys():
                fixed = ", ".join(vulnerability["fix_versions"]) or "nowhere yet"
                found.append(f"{name} {version}: {vulnerability['id']}, fixed in {fixed}")
    return found + skipped + [f"{name}: an exception that is not needed" for name in sorted(passed_over.keys() - used)]


def main(options: list[str]) -> int:
    pinned = {replace(pin, wanted_by=()) for lock in LOCKS.glob("*.txt") for pin in pins(lock.read_text())}
    passed_over = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["botfarm"]["advisories"]
    try:
        report = look_up(pinned, *options)
        found = faults(report, passed_over=passed_over)
    except Unaudited:
        sys.stdout.write(f"{BANNER}\n{UNKNOWN}\n{BANNER}\n")
        return 1 if os.environ.get("BOTFARM_AUDIT") == "required" else 0
    sys.stdout.write("".join(f"{line}\n" for line in found))
    sys.stdout.write(f"audit: {len(report)} pinned versions, {len(found)} fault(s)\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
