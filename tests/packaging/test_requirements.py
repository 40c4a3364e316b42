"""What is installed is pinned, hashed, in step with pyproject.toml and from no particular place."""

import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import patience

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = {
    "app": [],
    "standalone": ["standalone", "demo"],
    "test": ["standalone", "demo", "test"],
    "bench": ["standalone", "demo", "bench"],
    "dev": ["standalone", "demo", "bench", "test", "lint"],
}
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)(?:\[[a-z,]+\])?==(?P<version>\S+)(?P<rest>.*(?:\n .*)*)", re.MULTILINE)
REGISTRY_ADDRESS = re.compile(
    r"(?:--(?:extra-)?index-url|--find-links|index-url|registry)[\s=\"']+(?:https?|file)://"
    r"|https?://[^\s\"'<>)]*(?:/simple\b|/pypi/|pythonhosted|pypi\.org|npmjs|/artifactory|/nexus)",
    re.IGNORECASE,
)
SELF = Path(__file__).relative_to(ROOT)
PASSED_OVER = {".git", ".venv", ".botfarm", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def _text(lock: str) -> str:
    return (ROOT / "requirements" / f"{lock}.txt").read_text()


def _pins(lock: str) -> dict[str, str]:
    return {canonicalize_name(pin["name"]): pin["version"] for pin in PIN.finditer(_text(lock))}


def _committed() -> list[Path]:
    """What git has or would take; in the image, which has no git, everything."""
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=patience.limit(30)
        ).stdout
        found = [ROOT / line for line in listed.splitlines()]
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in ROOT.rglob("*") if not PASSED_OVER & set(path.relative_to(ROOT).parts)]
    return [path for path in found if path.is_file()]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_pinned_with_its_hashes(lock: str) -> None:
    heads = [line for line in _text(lock).splitlines() if line and not line.startswith((" ", "#"))]
    pins = list(PIN.finditer(_text(lock)))

    assert len(pins) == len(heads) > 0
    assert all("--hash=sha256:" in pin["rest"] for pin in pins)


@pytest.mark.parametrize(("lock", "extras"), LOCKS.items(), ids=LOCKS)
def test_every_direct_dependency_is_pinned_within_its_range(lock: str, extras: list[str]) -> None:
    pins = _pins(lock)
    direct = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]

    missed = [
        wanted
        for wanted in map(Requirement, direct)
        if not wanted.specifier.contains(pins.get(canonicalize_name(wanted.name), "0"), prereleases=True)
        or canonicalize_name(wanted.name) not in pins
    ]

    assert missed == []


def test_every_lock_holds_the_one_before_it() -> None:
    """So the image, the developers and CI run the same versions, and one .venv serves every command."""
    for smaller, larger in (*pairwise(("app", "standalone", "test", "dev")), ("standalone", "bench"), ("bench", "dev")):
        assert _pins(smaller).items() <= _pins(larger).items()


def test_no_file_names_a_registry() -> None:
    guilty = [
        str(path.relative_to(ROOT))
        for path in _committed()
        if path.relative_to(ROOT) != SELF and REGISTRY_ADDRESS.search(path.read_text(errors="ignore"))
    ]

    assert guilty == []


def test_a_registry_address_would_be_found() -> None:
    assert REGISTRY_ADDRESS.search("--index-url " + "https://example.org/simple")
    assert REGISTRY_ADDRESS.search("https://mirror.example.org/root/" + "simple/")
    assert not REGISTRY_ADDRESS.search("--no-emit-index-url")
