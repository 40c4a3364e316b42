"""Settings: one name in the environment for each, and bad values expected in words."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from domain.configuration.settings import DEFAULT_DATABASE_URL, Settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no .env of the machine that runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"BOTFARM_{name.upper()}", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default() -> None:
    settings = Settings()

    assert settings.database_url == DEFAULT_DATABASE_URL
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.redis_prefix == "botfarm:"
    assert (settings.host, settings.port, settings.auth) == ("127.0.0.1", 8000, None)
    assert (settings.worker_host, settings.worker_port, settings.worker_processes) == ("127.0.0.1", 9100, 1)
    assert (settings.lock_ttl, settings.lock_cooldown) == (timedelta(minutes=15), timedelta(0))
    assert settings.lock_ttl_max_seconds == 86_400
    assert settings.lock_lifetime_max is None
    assert (settings.log_format, settings.log_level) == ("json", "INFO")


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("REDIS_URL", "redis://cache:6380/3", "redis_url", "redis://cache:6380/3"),
        ("BOTFARM_REDIS_PREFIX", "farm2:", "redis_prefix", "farm2:"),
        ("BOTFARM_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("BOTFARM_PORT", "0", "port", 0),
        ("BOTFARM_AUTH", "keys", "auth", "keys"),
        ("BOTFARM_SECRET_KEYS", "a:b", "secret_keys", "a:b"),
        ("BOTFARM_SECRET_KEYS_FILE", "/run/keys", "secret_keys_file", "/run/keys"),
        ("BOTFARM_LOCK_TTL_SECONDS", "60", "lock_ttl", timedelta(minutes=1)),
        ("BOTFARM_LOCK_TTL_MAX_SECONDS", "900", "lock_ttl_max_seconds", 900),
        ("BOTFARM_LOCK_COOLDOWN_SECONDS", "5", "lock_cooldown", timedelta(seconds=5)),
        ("BOTFARM_LOCK_LIFETIME_MAX_SECONDS", "3600", "lock_lifetime_max", timedelta(hours=1)),
        ("BOTFARM_WORKER_HOST", "::1", "worker_host", "::1"),
        ("BOTFARM_WORKER_PORT", "9200", "worker_port", 9200),
        ("BOTFARM_WORKER_PROCESSES", "3", "worker_processes", 3),
        ("BOTFARM_API_WORKERS", "12", "api_workers", 12),
        ("BOTFARM_LOG_FORMAT", "console", "log_format", "console"),
        ("BOTFARM_LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
    ],
)
def test_each_setting_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(variable, value)

    assert getattr(Settings(), field) == expected


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_the_short_forms_of_a_database_url_are_taken(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://me:p%40ss@db:6543/farm?sslmode=require")

    assert Settings().database_url == "postgresql+psycopg2://me:p%40ss@db:6543/farm?sslmode=require"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "is not a database URL"),
        ("db.example.org", "is not a database URL"),
        ("mysql://me@db/farm", "must be a postgresql:// URL, not mysql://"),
        ("postgresql+asyncpg://me@db/farm", "must be a postgresql:// URL, not postgresql+asyncpg://"),
        ("postgresql://me@db:port/farm", "is not a database URL"),
    ],
)
def test_an_unusable_database_url_is_reported_in_words(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", value)

    with pytest.raises(ValidationError) as raised:
        Settings()

    (error,) = raised.value.errors()
    assert error["loc"] == ("DATABASE_URL",)
    assert expected in error["msg"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BOTFARM_PORT", "-1"),
        ("BOTFARM_PORT", "65536"),
        ("BOTFARM_PORT", "http"),
        ("BOTFARM_AUTH", "maybe"),
        ("BOTFARM_WORKER_PROCESSES", "0"),
        ("BOTFARM_API_WORKERS", "0"),
        ("BOTFARM_LOCK_TTL_SECONDS", "0"),
        ("BOTFARM_LOCK_TTL_SECONDS", "1.5"),
        ("BOTFARM_LOCK_TTL_SECONDS", "inf"),
        ("BOTFARM_LOCK_COOLDOWN_SECONDS", "-1"),
        ("BOTFARM_LOG_LEVEL", "loud"),
        ("BOTFARM_LOG_FORMAT", "xml"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ValidationError) as raised:
        Settings()

    (error,) = raised.value.errors()
    assert error["loc"] == (variable.removeprefix("BOTFARM_").lower(),)


def test_a_default_ttl_beyond_the_longest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTFARM_LOCK_TTL_MAX_SECONDS", "899")

    with pytest.raises(ValidationError, match="BOTFARM_LOCK_TTL_SECONDS is more than BOTFARM_LOCK_TTL_MAX_SECONDS"):
        Settings()


def test_a_dotenv_file_is_read_and_the_environment_goes_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("BOTFARM_PORT=8001\nBOTFARM_WORKER_PORT=9101\nSOMEBODY_ELSES=1\n")
    monkeypatch.setenv("BOTFARM_PORT", "8002")

    settings = Settings()

    assert (settings.port, settings.worker_port) == (8002, 9101)


def test_sealing_keys_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTFARM_SECRET_KEYS", "k1:topsecret")

    assert "topsecret" not in repr(Settings())


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("botfarm.example.org", False),
        ("", False),
    ],
)
def test_only_a_loopback_address_counts_as_one(monkeypatch: pytest.MonkeyPatch, host: str, *, loopback: bool) -> None:
    monkeypatch.setenv("BOTFARM_HOST", host)

    assert Settings().loopback is loopback


def test_networks_for_webhooks_are_named_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTFARM_WEBHOOK_ALLOW_NETWORKS", " 10.1.0.0/16, fd00:1::/32,")

    assert [str(network) for network in Settings().webhook_allow_networks] == ["10.1.0.0/16", "fd00:1::/32"]


@pytest.mark.parametrize("value", ["10.1.0.1/16", "example.org", "10.1.0.0/16;10.2.0.0/16"])
def test_what_is_no_network_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BOTFARM_WEBHOOK_ALLOW_NETWORKS", value)

    with pytest.raises(ValidationError, match="webhook_allow_networks"):
        Settings()
