from pathlib import Path

import pytest

from standalone import environments, options
from standalone.addresses import Address
from standalone.errors import StandaloneError


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "BOTFARM_SECRET_KEYS", "BOTFARM_SECRET_KEYS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def environment(chosen: options.Options) -> dict[str, str]:
    return environments.complete(
        chosen,
        data_dir=Path("/data"),
        database_url="postgresql+psycopg2://own",
        redis_url="redis://own",
        api=Address("127.0.0.1", 8000),
        worker=Address("127.0.0.1", 9100),
    )


def test_the_data_is_kept_in_the_current_folder_by_default() -> None:
    chosen = options.parse([])

    assert (chosen.data_dir, chosen.ephemeral, chosen.port) == (Path(".botfarm"), False, None)


def test_a_server_is_used_when_the_environment_or_its_file_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("REDIS_URL=redis://other:6379/3\n")
    chosen = options.parse([])

    assert chosen.named("redis_url")
    assert chosen.settings.redis_url == "redis://other:6379/3"
    assert not chosen.named("database_url")


def test_an_ambiguous_environment_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "nonsense")

    with pytest.raises(StandaloneError, match=r"^DATABASE_URL: is not a database URL: [^\n]*$"):
        options.parse([])


@pytest.mark.parametrize("wrong", [["--port", "65536"], ["--port", "x"], ["--ephemeral", "--data-dir", "x"]])
def test_what_cannot_be_meant_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(wrong)

    assert ended.value.code == 2


def test_sealing_keys_lie_with_the_data_unless_others_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    own = environment(options.parse([]))
    monkeypatch.setenv("BOTFARM_SECRET_KEYS_FILE", "mine.keys")
    file = environment(options.parse([]))
    monkeypatch.delenv("BOTFARM_SECRET_KEYS_FILE")
    monkeypatch.setenv("BOTFARM_SECRET_KEYS", "k1:AAAA")
    keys = environment(options.parse([]))

    assert own["BOTFARM_SECRET_KEYS_FILE"] == "/data/secret.keys"
    assert file["BOTFARM_SECRET_KEYS_FILE"] == "mine.keys"
    assert "BOTFARM_SECRET_KEYS_FILE" not in keys
