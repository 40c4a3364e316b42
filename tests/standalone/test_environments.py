"""What API, worker and migration are told by whoever starts them."""

from pathlib import Path

import pytest

from standalone import environments, options
from standalone.addresses import Address
from standalone.errors import StandaloneError


def test_a_setting_that_is_decided_here_is_not_given_by_a_file_as_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = tmp_path / "url"
    url.write_text("postgresql://me@127.0.0.1/farm")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("BOTFARM_SECRET_KEYS_FILE", raising=False)
    monkeypatch.setenv("DATABASE_URL_FILE", str(url))
    lanes = tmp_path / "lanes"
    lanes.write_text("3")
    monkeypatch.setenv("BOTFARM_LANES_FILE", str(lanes))

    given = environments.complete(
        options.parse([]),
        data_dir=tmp_path,
        database_url="postgresql://me@127.0.0.1:5/farm",
        redis_url="redis://127.0.0.1",
        api=Address("127.0.0.1", 1),
        worker=Address("127.0.0.1", 2),
    )

    assert given["DATABASE_URL"] == "postgresql://me@127.0.0.1:5/farm"
    assert "DATABASE_URL_FILE" not in given
    assert given["BOTFARM_LANES_FILE"] == str(lanes)
    assert given["BOTFARM_SECRET_KEYS_FILE"] == str(tmp_path / "secret.keys")


def test_an_unreadable_file_is_reported_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOTFARM_LANES_FILE", "/nowhere/lanes")

    with pytest.raises(StandaloneError, match="BOTFARM_LANES_FILE cannot be read"):
        options.parse([])
