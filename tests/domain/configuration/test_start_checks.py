"""What no program starts with unless somebody has said that it may."""

import os
from pathlib import Path
from typing import Any

import pytest

from domain import sealing
from domain.configuration import start_checks
from domain.configuration.settings import Settings


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:postgres@db/farm",
        "postgresql://botfarm:botfarm@10.0.0.5:6432/farm",
        "postgresql://me:PassWord@db.example.org/farm",
        "postgresql://admin:changeme@[2001:db8::1]/farm",
        "postgresql://joe:joe@db/farm",
        "postgresql:///farm?user=postgres&password=postgres&host=db",
        "postgresql://postgres:postgres@/farm?host=/run/postgresql,db",
        "postgresql://postgres:postgres@0.0.0.0/farm",
    ],
)
def test_a_default_password_at_another_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="has a default password") as raised:
        start_checks.require(Settings(database_url=url, auth="keys"))

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:postgres@127.0.0.1/farm",
        "postgresql://postgres:postgres@localhost:5432/farm",
        "postgresql://postgres:postgres@[::1]/farm",
        "postgresql://postgres:postgres@/farm?host=/run/postgresql",
        "postgresql://botfarm:A8fjk-20sdfl@db/farm",
        "postgresql://botfarm@db/farm",
        "postgresql://db/farm",
    ],
)
def test_a_password_of_ones_own_or_a_database_of_this_machine_will_do(url: str) -> None:
    start_checks.require(Settings(database_url=url, auth=None))


def test_whoever_says_that_authentication_is_off_has_said_it_of_the_database_too() -> None:
    url = "postgresql://postgres:postgres@db/farm"

    start_checks.require(Settings(database_url=url, auth="off"))
    with pytest.raises(ValueError, match="say BOTFARM_AUTH=off"):
        start_checks.require(Settings(database_url=url, auth=None))


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o777, 0o440])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    keys = tmp_path / "secret.keys"
    sealing.make_file(keys)
    keys.chmod(mode)

    with pytest.raises(ValueError, match=f"{keys} holds sealing keys and is open to others: chmod 600"):
        start_checks.require(Settings(secret_keys_file=str(keys)))


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_for_its_owner_alone_will_do(tmp_path: Path, mode: int) -> None:
    keys = tmp_path / "secret.keys"
    sealing.make_file(keys)
    keys.chmod(mode)

    start_checks.require(Settings(secret_keys_file=str(keys)))


@pytest.mark.parametrize(("mode", "safe"), [(0o440, True), (0o460, False), (0o444, False), (0o404, False)])
def test_a_file_of_roots_may_be_read_through_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, *, safe: bool
) -> None:
    keys = tmp_path / "secret.keys"
    keys.write_text("")
    keys.chmod(mode)
    real = Path.stat

    def owned_by_root(path: Path, **options: Any) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result((found.st_mode, *found[1:4], 0, *found[5:]))

    monkeypatch.setattr(Path, "stat", owned_by_root)
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)

    if safe:
        start_checks.require_private_keys(str(keys))
    else:
        with pytest.raises(ValueError, match="open to others"):
            start_checks.require_private_keys(str(keys))


def test_a_key_file_that_is_yet_to_be_made_is_none(tmp_path: Path) -> None:
    start_checks.require(Settings(secret_keys_file=str(tmp_path / "secret.keys")))
