"""The compose file does what the first page of the README promises, and opens no door."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ["app", "worker", "migrate"]
LASTING = ["app", "worker", "db", "redis"]


def test_there_are_five_services() -> None:
    assert set(SERVICES) == {"app", "worker", "migrate", "db", "redis"}
    assert "version" not in COMPOSE


def test_every_published_port_is_this_machines_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports == ["127.0.0.1:8000:8000", "127.0.0.1:9100:9100"]


@pytest.mark.parametrize(
    ("service", "command"),
    [
        ("app", "python -m api"),
        ("worker", "python -m worker"),
        ("migrate", "python -m domain migrate --make-key-file"),
    ],
)
def test_our_services_run_their_modules(service: str, command: str) -> None:
    assert SERVICES[service]["command"] == command.split()


def test_our_services_are_one_build_that_shares_no_image_name() -> None:
    assert [SERVICES[name]["build"] for name in OURS] == ["."] * 3
    assert not any("image" in SERVICES[name] for name in OURS)


@pytest.mark.parametrize("service", OURS)
def test_our_services_hold_no_privilege(service: str) -> None:
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "cap_add"} & SERVICES[service].keys()


@pytest.mark.parametrize("service", LASTING)
def test_what_lasts_is_watched_and_started_again(service: str) -> None:
    assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[service]["restart"] == "unless-stopped"


@pytest.mark.parametrize("service", ["app", "worker"])
def test_api_and_worker_wait_for_the_migration(service: str) -> None:
    assert SERVICES[service]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "db": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
    }


def test_the_migration_runs_once_and_waits_for_the_database() -> None:
    assert SERVICES["migrate"]["restart"] == "no"
    assert SERVICES["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}


def test_the_sealing_keys_lie_in_a_volume_of_all_our_services() -> None:
    assert all(SERVICES[name]["volumes"] == ["keys:/data"] for name in OURS)
    assert all(SERVICES[name]["environment"]["BOTFARM_SECRET_KEYS_FILE"] == "/data/secret.keys" for name in OURS)


def test_a_full_redis_refuses_writes_rather_than_dropping_events() -> None:
    command = " ".join(SERVICES["redis"]["command"])

    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command


def test_every_named_volume_is_declared() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}

    assert used == set(COMPOSE["volumes"])
