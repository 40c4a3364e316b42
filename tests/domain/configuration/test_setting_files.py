"""Settings from files: `X_FILE`, and a folder of secrets; each setting from one place."""

from pathlib import Path

import pytest

from domain.configuration.settings import Settings

URL = "postgresql+psycopg2://me:p%40ss@db:6543/farm"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable, no .env and no secret of the machine that runs the tests."""
    for name in [*(f"BOTFARM_{name.upper()}" for name in Settings.model_fields), "DATABASE_URL", "REDIS_URL"]:
        monkeypatch.delenv(name, raising=False)
        if not name.endswith("_FILE"):
            monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("domain.configuration.settings.SECRETS_FOLDER", tmp_path / "secrets")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("variable", "text", "field", "expected"),
    [
        ("DATABASE_URL_FILE", f"{URL}\n", "database_url", URL),
        ("REDIS_URL_FILE", "redis://:pw@cache:6379/1\n", "redis_url", "redis://:pw@cache:6379/1"),
        ("BOTFARM_SECRET_KEYS_FILE_FILE", "/data/keys", "secret_keys_file", "/data/keys"),
        ("BOTFARM_PORT_FILE", " 8001 \n", "port", 8001),
        (
            "BOTFARM_CORS_ORIGINS_FILE",
            "https://a.example,https://b.example",
            "cors_origins",
            ("https://a.example", "https://b.example"),
        ),
    ],
)
def test_a_setting_may_stand_in_a_file_that_a_variable_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, text: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(variable, written(tmp_path / "file", text))

    assert getattr(Settings(), field) == expected


def test_the_name_of_the_file_may_stand_in_dotenv(tmp_path: Path) -> None:
    name = written(tmp_path / "url", URL)
    written(tmp_path / ".env", f"DATABASE_URL_FILE={name}\n")

    assert Settings().database_url == URL


def test_a_setting_may_lie_in_the_folder_of_secrets(secrets: Path) -> None:
    written(secrets / "database_url", f"{URL}\n")
    written(secrets / "botfarm_port", "8001")
    written(secrets / "somebody_elses", "1")

    assert (Settings().database_url, Settings().port) == (URL, 8001)


def test_the_sealing_keys_file_keeps_its_own_meaning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = written(tmp_path / "secret.keys", "a:b")
    monkeypatch.setenv("BOTFARM_SECRET_KEYS_FILE", name)

    assert (Settings().secret_keys, Settings().secret_keys_file) == ("", name)


def test_a_setting_that_is_given_twice_is_refused_by_both_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secrets: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL_FILE", written(tmp_path / "url", URL))
        with pytest.raises(ValueError, match=r"^DATABASE_URL and DATABASE_URL_FILE are both given: leave out one"):
            Settings()

    written(secrets / "database_url", URL)
    with pytest.raises(ValueError, match=f"^DATABASE_URL and {secrets}/database_url are both given"):
        Settings()
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(ValueError, match=f"^DATABASE_URL_FILE and {secrets}/database_url are both given"):
        Settings()


def test_an_empty_variable_is_not_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compose hands on empty what nobody has set."""
    monkeypatch.setenv("BOTFARM_SECRET_KEYS", "")
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("DATABASE_URL_FILE", written(tmp_path / "url", URL))

    assert Settings().database_url == URL


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_file_is_reported_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))

    with pytest.raises(ValueError, match=r"^DATABASE_URL_FILE cannot be read"):
        Settings()


def test_what_a_file_says_is_judged_like_any_other_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BOTFARM_PORT_FILE", written(tmp_path / "port", "http"))

    with pytest.raises(ValueError, match="port"):
        Settings()


@pytest.mark.parametrize("origins", ["*", "https://a.example/", "a.example", "https://a.example,*", "null"])
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("BOTFARM_CORS_ORIGINS", origins)

    with pytest.raises(ValueError, match="names no origins"):
        Settings()
