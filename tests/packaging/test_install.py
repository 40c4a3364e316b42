"""`make` on a machine that lacks something says so in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / ".ci" / "install"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout without .venv whose requirements are empty."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(INSTALL, tmp_path / ".ci")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "app.txt").write_text("# nothing\n")
    return tmp_path


def _install(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", ".ci/install", "app"],
        check=False,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _stand_in(folder: Path, *, script: str) -> str:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_an_old_python_is_refused_in_one_line(bare: Path) -> None:
    run = _install(bare, PYTHON=_stand_in(bare, script="exit 1"))

    assert run.returncode == 1
    assert run.stderr.startswith("botfarm: needs Python 3.11 or newer")
    assert run.stderr.count("\n") == 1


def test_a_python_without_venv_is_refused_in_one_line(bare: Path) -> None:
    run = _install(bare, PYTHON=_stand_in(bare, script='case "$2" in *ensurepip*) exit 1;; esac'))

    assert run.returncode == 1
    assert "lacks its venv module" in run.stderr
    assert run.stderr.count("\n") == 1


def test_the_second_run_has_nothing_to_do_until_the_requirements_change(bare: Path) -> None:
    lock = bare / "requirements" / "app.txt"

    first = _install(bare, PYTHON=sys.executable)
    second = _install(bare, PYTHON=sys.executable)
    lock.write_text("# nothing still\n")
    third = _install(bare, PYTHON=sys.executable)

    assert [run.returncode for run in (first, second, third)] == [0, 0, 0], first.stderr + third.stderr
    assert "installing" in first.stderr
    assert second.stderr == ""
    assert "installing" in third.stderr


def test_an_environment_whose_python_is_gone_is_made_again(bare: Path) -> None:
    interpreter = bare / ".venv" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.symlink_to("/nowhere/python")
    (bare / ".venv" / ".installed-app.txt").write_text((bare / "requirements" / "app.txt").read_text())

    run = _install(bare, PYTHON=sys.executable)

    assert run.returncode == 0, run.stderr
    subprocess.run([interpreter, "-m", "pip", "--version"], capture_output=True, check=True)
