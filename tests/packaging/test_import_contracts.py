"""Every import contract of pyproject.toml is shown to catch what it is there for."""

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import patience

ROOT = Path(__file__).parents[2]
LINTER: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
NAMES = {contract["id"]: contract["name"] for contract in LINTER["contracts"]}
VERDICT = re.compile(r"^(?P<name>.+?) (?P<verdict>KEPT|BROKEN)\b", re.MULTILINE)
CHECK = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]


@dataclass(frozen=True)
class Violation:
    """One line at the end of `file` that breaks `contract` and no other."""

    contract: str
    file: str
    line: str

    def __str__(self) -> str:
        return f"{self.contract}: {self.file}: {self.line}"


VIOLATIONS = [
    Violation("rooms", "api/main.py", "import worker"),
    Violation("rooms", "worker/__init__.py", "import api"),
    Violation("rooms", "standalone/__main__.py", "import api"),
    Violation("rooms", "standalone/__main__.py", "import worker"),
    Violation("rooms", "demo/__init__.py", "import standalone"),
    Violation("rooms", "domain/postgres/schema_version.py", "import standalone"),
    Violation("domain", "domain/locks/releasing.py", "from domain import requests"),
    Violation("domain", "domain/users/changing.py", "from domain import requests"),
    Violation("domain", "domain/locks/reservations.py", "from domain import users"),
    Violation("domain", "domain/events/outbox.py", "from domain import users"),
    Violation("domain", "domain/events/feed.py", "from domain import locks"),
    Violation("domain", "domain/tables.py", "from domain.events import epochs"),
    Violation("domain", "domain/errors.py", "from domain import snapshots"),
    Violation("domain", "domain/configuration/settings.py", "from domain import sealing"),
    Violation("domain", "domain/postgres/engines.py", "from domain import tables"),
    Violation("api", "api/execution/group_commit.py", "from api.auth import audit_log"),
    Violation("api", "api/execution/dispatcher.py", "from api.schemas import fields"),
    Violation("api", "api/middleware/limits.py", "from api.routes import locks"),
    Violation("api", "api/http/headers.py", "from api import services"),
    Violation("api", "api/auth/principals.py", "from api.middleware import limits"),
    Violation("worker", "worker/relay/relay.py", "from worker import loops"),
    Violation("worker", "worker/broker.py", "from worker import actors"),
    Violation("worker", "worker/webhooks/signatures.py", "from worker.supervision import supervisor"),
    Violation("pure-domain", "domain/users/creating.py", "import fastapi"),
    Violation("pure-domain", "domain/postgres/schema_version.py", "import starlette"),
    Violation("pure-domain", "domain/__main__.py", "import uvicorn"),
    Violation("no-redis", "domain/locks/sql_steps.py", "import redis"),
    Violation("no-redis", "domain/events/outbox.py", "import redis"),
    Violation("no-redis", "domain/postgres/engines.py", "import redis"),  # so everything that has a connection
    Violation("no-redis", "domain/requests/dispatching.py", "import redis"),
    Violation("no-redis", "domain/users/changing.py", "import redis"),
    Violation("no-redis", "domain/statistics.py", "import redis"),
    Violation("no-redis", "api/execution/dispatcher.py", "import redis"),
    Violation("no-redis", "api/execution/group_commit.py", "import redis"),
    Violation("no-redis", "api/execution/deadlines.py", "from domain.redis import cache"),
    Violation("no-redis", "api/execution/dispatcher.py", "from domain.redis import clients"),
    Violation("no-redis", "domain/processes/probes.py", "import redis"),
    Violation("cache", "standalone/__main__.py", "from domain.redis import cache"),
    Violation("cache", "standalone/__main__.py", "from domain.redis import clients"),
    Violation("routes", "api/routes/locks.py", "import sqlalchemy"),
    Violation("routes", "api/routes/users.py", "from domain import tables"),
    Violation("routes", "api/routes/stats.py", "import redis"),
    Violation("schemas", "api/schemas/fields.py", "from domain.postgres import clocks"),
    Violation("serving", "api/serving/listeners.py", "from domain import locks"),
    Violation("serving", "api/serving/supervisor.py", "from api.execution import group_commit"),
    Violation("demo", "demo/farm.py", "from domain import users"),
    Violation("demo", "demo/consumer.py", "import sqlalchemy"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in LINTER["root_packages"]:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    return tmp_path


def _verdicts(folder: Path) -> dict[str, str]:
    run = subprocess.run(CHECK, check=False, cwd=folder, capture_output=True, text=True, timeout=patience.limit(60))
    verdicts = {found["name"]: found["verdict"] for found in VERDICT.finditer(run.stdout)}
    assert verdicts.keys() == set(NAMES.values()), run.stdout + run.stderr
    return verdicts


def test_the_code_keeps_every_contract(copy: Path) -> None:
    assert set(_verdicts(copy).values()) == {"KEPT"}


@pytest.mark.parametrize("violation", VIOLATIONS, ids=str)
def test_a_planted_violation_breaks_its_contract_alone(copy: Path, violation: Violation) -> None:
    with (copy / violation.file).open("a") as file:
        file.write(f"\n{violation.line}\n")

    broken = {name for name, verdict in _verdicts(copy).items() if verdict == "BROKEN"}

    assert broken == {NAMES[violation.contract]}


def test_a_new_room_in_the_domain_must_be_given_its_layer(copy: Path) -> None:
    (copy / "domain" / "newcomers.py").write_text("")

    run = subprocess.run(CHECK, check=False, cwd=copy, capture_output=True, text=True, timeout=patience.limit(60))

    assert run.returncode != 0
    assert "newcomers" in run.stdout + run.stderr


def test_no_contract_goes_without_a_planted_violation() -> None:
    assert {violation.contract for violation in VIOLATIONS} == set(NAMES)
