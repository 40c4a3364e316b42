"""What the image is built of, as far as its recipe tells."""

import py_compile
import re
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
INSTRUCTIONS = [line.split(maxsplit=1) for line in RECIPE.splitlines() if line and not line.startswith("#")]


def _stages() -> dict[str, list[list[str]]]:
    """The instructions of each stage, its parents' first."""
    stages: dict[str, list[list[str]]] = {}
    for instruction in INSTRUCTIONS:
        if instruction[0] == "FROM":
            parent, _, name = instruction[1].split()
            stages[name] = list(stages.get(parent, []))
        else:
            stages[name].append(instruction)
    return stages


def _last(stage: str, word: str) -> str:
    return [text for name, text in _stages()[stage] if name == word][-1]


def test_compose_builds_the_stage_with_the_tests() -> None:
    assert list(_stages())[-1] == "app"
    assert any("/app /app" in text and "test-code" in text for _, text in _stages()["app"])


@pytest.mark.parametrize("stage", ["runtime", "app"])
def test_the_image_runs_as_a_user_that_owns_no_code(stage: str) -> None:
    assert _last(stage, "USER") == "10001:10001"
    assert not any("--chown" in text for word, text in _stages()[stage] if word == "COPY")


@pytest.mark.parametrize("stage", ["runtime", "app"])
def test_the_image_starts_the_api_and_stops_it_gently(stage: str) -> None:
    assert _last(stage, "CMD") == '["python", "-m", "api"]'
    assert _last(stage, "STOPSIGNAL") == "SIGTERM"
    assert "/livez" in _last(stage, "HEALTHCHECK")


@pytest.mark.parametrize("stage", ["runtime", "app"])
def test_the_image_leaves_the_choice_of_authentication_to_its_operator(stage: str) -> None:
    assert not any("BOTFARM_AUTH=" in text for _, text in _stages()[stage])


def test_the_lean_image_has_the_servers_libraries_alone() -> None:
    copied = [text for word, text in _stages()["runtime"] if word == "COPY"]

    assert copied == ["--from=libraries /venv /venv", "--from=code /app /app"]
    assert not any("test.txt" in text for _, text in _stages()["libraries"])


def test_everything_is_installed_by_hash_and_from_wheels() -> None:
    installs = [text for word, text in INSTRUCTIONS if word == "RUN" and "pip " in text]

    assert len(installs) == 2
    assert all("--require-hashes" in text and "--only-binary :all:" in text for text in installs)


def test_everything_that_is_installed_or_copied_is_compiled_whatever_the_time_of_its_file() -> None:
    made = [text for word, text in INSTRUCTIONS if word == "RUN" and ("pip " in text or "chmod" in text)]

    assert len(made) == 4
    assert all("-m compileall -q --invalidation-mode unchecked-hash" in text for text in made)
    assert all("--no-compile" in text for text in made if "pip " in text)


def _compiled_anew(folder: Path) -> list[Path]:
    """Where modules' code should be and is not, or goes by the time of a file: every process may have to compile it."""
    modules = (Path(cache_from_source(str(path))) for path in folder.rglob("*.py"))
    return [path for path in modules if not path.exists() or path.read_bytes()[4] != 1]


@pytest.mark.skipif(sys.prefix != "/venv", reason="this is not the image: elsewhere what is compiled may be rewritten")
def test_no_process_of_the_image_compiles_anything() -> None:
    assert [path for root in (ROOT, Path(sys.prefix)) for path in _compiled_anew(root)] == []


def test_a_module_that_is_compiled_by_the_time_of_its_file_or_not_at_all_would_be_found(tmp_path: Path) -> None:
    one, other, third = (tmp_path / f"{name}.py" for name in ("one", "other", "third"))
    for path in (one, other, third):
        path.touch()
    py_compile.compile(str(one), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    py_compile.compile(str(other), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)

    assert set(_compiled_anew(tmp_path)) == {Path(cache_from_source(str(path))) for path in (other, third)}


def test_what_the_image_copies_passes_the_ignore_file() -> None:
    named = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [text.split()[:-1] for word, text in INSTRUCTIONS if word == "COPY" and "--from" not in text]

    assert {source.split("/")[0] for group in sources for source in group} == named
