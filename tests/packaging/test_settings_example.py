"""`.env.example` and the compose file know every setting there is."""

import re
from pathlib import Path

import pytest
import yaml

from domain.configuration.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.example"
ASSIGNMENT = re.compile(r"^(?P<dormant># )?(?P<name>[A-Z_]+)=(?P<value>.*)$")
COMPOSE_OWN = {"DATABASE_URL", "REDIS_URL"}  # the servers' places in compose, not the defaults of a bare process


def _variable(field: str) -> str:
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"BOTFARM_{field.upper()}"


def _example() -> dict[str, str]:
    found = map(ASSIGNMENT.match, EXAMPLE.read_text().splitlines())
    return {match["name"]: match["value"] for match in found if match}


@pytest.fixture
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(_variable(field), raising=False)


def test_the_example_has_every_setting_and_no_other() -> None:
    assert set(_example()) == {_variable(field) for field in Settings.model_fields}


def test_every_setting_of_the_example_is_explained_by_the_line_above() -> None:
    lines = EXAMPLE.read_text().splitlines()
    above = [lines[number - 1] for number, line in enumerate(lines) if ASSIGNMENT.match(line)]

    assert all(line.startswith("# ") and not ASSIGNMENT.match(line) for line in above)


@pytest.mark.usefixtures("no_settings_in_the_environment")
def test_the_example_states_the_defaults() -> None:
    shown, default = Settings(_env_file=EXAMPLE), Settings(_env_file=None)

    own = {field for field in Settings.model_fields if _variable(field) in COMPOSE_OWN}
    assert shown.model_dump(exclude=own) == default.model_dump(exclude=own)
    assert shown.database_url == "postgresql+psycopg2://postgres:postgres@db:5432/botfarm"


@pytest.mark.usefixtures("no_settings_in_the_environment")
def test_the_example_loads_with_every_line_in_force(tmp_path: Path) -> None:
    everything = tmp_path / "everything.env"
    everything.write_text("\n".join(f"{name}={value}" for name, value in _example().items()))

    settings = Settings(_env_file=everything)

    assert settings.auth == "off"
    assert settings.secret_keys_file == "/data/secret.keys"


@pytest.mark.parametrize("service", ["app", "worker", "migrate"])
def test_compose_hands_every_setting_on(service: str) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

    assert set(compose["services"][service]["environment"]) == set(_example())
