"""Schemathesis, run against an API, and its report."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS = int(os.environ.get("BOTFARM_FUZZ_SECONDS", "60"))
START_SECONDS = 120.0  # beyond the time it has for calls: to import, to load the document, to end


@dataclass(frozen=True)
class Run:
    report: dict[str, Any]
    said: str

    @property
    def cases(self) -> int:
        return int(self.report["test_cases"]["generated"])

    @property
    def faults(self) -> list[str]:
        """Everything that is not as it must be, in words that a reader of a failed test can use."""
        found = [json.dumps(failure)[:2_000] for failure in self.report["failures"]]
        return found + [json.dumps(error)[:2_000] for error in self.report["errors"]]


def fuzz(url: str, folder: Path, *options: str) -> Run:
    """Fuzz the API there; `options` are Schemathesis's own, which say how much and for how long."""
    report = folder / "report.json"
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--config-file", str(HERE / "schemathesis.toml"), "--no-color", "run", f"{url}/openapi.json"]
    command += ["--report", "json", "--report-json-path", str(report), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=SECONDS + START_SECONDS, check=False
    )
    said = done.stdout + done.stderr
    assert report.exists(), said
    return Run(json.loads(report.read_text()), said)
