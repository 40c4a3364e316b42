"""Folders of metrics: each lives as long as its supervisor."""

import os
import tempfile
from pathlib import Path

import pytest

from domain.processes import metrics_folder


@pytest.mark.parametrize("prefix", ["botfarm-api-", "botfarm-worker-"])
def test_folders_of_killed_supervisors_are_removed_and_no_others(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    abandoned, foreign = tmp_path / f"{prefix}left", tmp_path / "another-program"
    for made in (abandoned, foreign):
        made.mkdir()
        os.utime(made, (1, 1))
    (young := tmp_path / f"{prefix}young").mkdir()

    with metrics_folder.folder(prefix=prefix) as first:
        os.utime(first, (1, 1))  # old, but in use
        with metrics_folder.folder(prefix=prefix) as second:
            assert set(tmp_path.iterdir()) == {Path(first), Path(second), foreign, young}
            assert Path(second).stat().st_mode & 0o777 == 0o700

    assert set(tmp_path.iterdir()) == {foreign, young}
