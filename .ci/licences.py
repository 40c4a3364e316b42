"""Tell of every installed distribution whose licence pyproject.toml does not allow: `licences.py` fails when there is one."""  # noqa: INP001, E501  -- a script, run by its path

import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from license_expression import ExpressionError, get_spdx_licensing
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SPDX = get_spdx_licensing()
UNKNOWN = "unknown"
# What distributions without a licence expression write instead. Classifiers that name no version stay as vague as that.
NAMES = {
    "BSD 2-Clause License": "BSD-2-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "LicenseRef-BSD",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LicenseRef-LGPL",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def licence(distribution: Distribution) -> str:
    """The SPDX expression of a distribution: its own, else its licence's name, else all its classifiers together."""
    described: Any = distribution.metadata
    plain = str(described.get("License") or "").strip()
    for text in (described.get("License-Expression"), NAMES.get(plain, plain)):
        if text and _is_expression(text):
            return str(SPDX.parse(text))
    classifiers = [
        line.rpartition(" :: ")[2] for line in described.get_all("Classifier", []) if "OSI Approved ::" in line
    ]
    return " AND ".join(sorted({NAMES.get(name, UNKNOWN) for name in classifiers})) or UNKNOWN


def faults(
    installed: Iterable[Distribution], *, allowed: Iterable[str], exceptions: Mapping[str, str]
) -> dict[str, str]:
    """Distributions whose licence is neither allowed nor an exact exception, and exceptions that are not needed."""
    kept = set(allowed)
    licences = {canonicalize_name(found.metadata["Name"]): licence(found) for found in installed}
    guilty = {
        name: f"{found}, which is not allowed"
        for name, found in licences.items()
        if exceptions.get(name) != found and not _permitted(found, kept)
    }
    idle = {
        name: "needs no exception" for name in exceptions if name not in licences or _permitted(licences[name], kept)
    }
    return guilty | idle


def _is_expression(text: str) -> bool:
    try:
        SPDX.parse(text, validate=True)
    except ExpressionError:
        return False
    return True


def _permitted(expression: str, allowed: set[str]) -> bool:
    return UNKNOWN not in expression and _grants(SPDX.parse(expression), allowed)


def _grants(node: Any, allowed: set[str]) -> bool:  # noqa: ANN401  -- a node of license_expression's tree
    """One side of an OR is enough, of an AND both are needed."""
    if isinstance(node, SPDX.OR):
        return any(_grants(side, allowed) for side in node.args)
    if isinstance(node, SPDX.AND):
        return all(_grants(side, allowed) for side in node.args)
    return str(node) in allowed


def main() -> int:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["botfarm"]["licences"]
    installed = list(importlib.metadata.distributions())
    found = faults(installed, allowed=rules["allowed"], exceptions=rules["exceptions"])
    sys.stdout.write("".join(f"{name}: {what}\n" for name, what in sorted(found.items())))
    sys.stdout.write(f"licences: {len(installed)} distributions, {len(found)} fault(s)\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
