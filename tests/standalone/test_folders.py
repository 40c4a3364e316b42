import os
import tempfile
import time
from pathlib import Path

import pytest

from standalone import files, folders
from standalone.errors import StandaloneError


def test_one_run_at_a_time_has_the_folder(tmp_path: Path) -> None:
    def enter() -> None:
        with folders.lasting(tmp_path / "data"):
            pass

    with (
        folders.lasting(tmp_path / "data") as folder,
        pytest.raises(StandaloneError, match=rf"already runs on {folder} \(process {os.getpid()}\)"),
    ):
        enter()

    enter()


def test_a_temporary_folder_is_gone_at_the_end_also_after_a_failure() -> None:
    used: list[Path] = []

    def fail() -> None:
        with folders.temporary() as folder:
            (folder / "file").write_text("")
            used.append(folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert not used[0].exists()


def test_folders_of_killed_runs_are_removed_and_those_of_living_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    long_ago = time.time() - 3_600
    killed, beginning = tmp_path / f"{folders.TEMPORARY}killed", tmp_path / f"{folders.TEMPORARY}beginning"
    for folder in (killed, beginning):
        folder.mkdir()
    (killed / folders.LOCK).write_text("1\n")
    os.utime(killed / folders.LOCK, (long_ago, long_ago))

    with folders.temporary() as living:
        os.utime(living / folders.LOCK, (long_ago, long_ago))
        with folders.temporary() as latest:
            left = set(tmp_path.iterdir())

    assert left == {beginning, living, latest}


def test_a_file_is_replaced_as_a_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    files.write(path, "old")
    with path.open() as reader:
        files.write(path, "new")

        assert reader.read() == "old"

    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
