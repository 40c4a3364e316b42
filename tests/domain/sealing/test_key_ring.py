"""Passwords at rest open only for the user they were sealed for, and only as they were sealed."""

import base64
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from domain import sealing
from domain.errors import SealBroken, SealingUnconfigured
from domain.sealing import KeyRing

KEY_A = base64.b64encode(b"a" * 32).decode()
KEY_B = base64.b64encode(b"b" * 32).decode()

passwords = st.text(st.characters(exclude_categories=["Cs"]))


@given(password=passwords, user_id=st.uuids(allow_nil=True))
@example(password="", user_id=UUID(int=0))
def test_any_password_opens_as_it_was_sealed(password: str, user_id: UUID) -> None:
    ring = sealing.parse(f"a:{KEY_A}")

    sealed = ring.seal(password, user_id=user_id)

    assert ring.unseal(sealed, user_id=user_id) == password


def test_the_sealed_form_does_not_hold_the_password(ring: KeyRing) -> None:
    sealed = ring.seal("correct horse", user_id=uuid4())

    raw = base64.urlsafe_b64decode(sealed.split(".")[2])
    assert "correct horse" not in sealed
    assert b"correct" not in raw


def test_the_same_password_never_looks_the_same_twice(ring: KeyRing) -> None:
    user_id = uuid4()

    sealed = {ring.seal("s3cret", user_id=user_id) for _ in range(100)}

    assert len(sealed) == 100


@given(one=st.uuids(), other=st.uuids())
def test_a_password_copied_to_another_row_does_not_open(one: UUID, other: UUID) -> None:
    assume(one != other)
    ring = sealing.parse(f"a:{KEY_A}")
    sealed = ring.seal("s3cret", user_id=one)

    with pytest.raises(SealBroken):
        ring.unseal(sealed, user_id=other)


@given(position=st.integers(0, 12 + 6 + 16 - 1), flip=st.integers(1, 255))
def test_no_byte_of_nonce_ciphertext_or_tag_may_change(position: int, flip: int) -> None:
    ring, user_id = sealing.parse(f"a:{KEY_A}"), uuid4()
    version, key_id, body = ring.seal("s3cret", user_id=user_id).split(".")
    raw = bytearray(base64.urlsafe_b64decode(body))
    raw[position] ^= flip

    with pytest.raises(SealBroken):
        ring.unseal(f"{version}.{key_id}.{base64.urlsafe_b64encode(raw).decode()}", user_id=user_id)


@given(length=st.integers(0, len("v1.a.") + 48 - 1))
def test_a_truncated_password_does_not_open(length: int) -> None:
    ring, user_id = sealing.parse(f"a:{KEY_A}"), uuid4()
    sealed = ring.seal("s3cret", user_id=user_id)

    with pytest.raises(SealBroken):
        ring.unseal(sealed[:length], user_id=user_id)


@given(text=st.text())
@example(text="")
@example(text="v1.a.")
@example(text="v1.a.AAAA")
@example(text="v1.a.ü")
@example(text="v1.a.AAAA.AAAA")
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    ring = sealing.parse(f"a:{KEY_A}")

    with pytest.raises(SealBroken):
        ring.unseal(text, user_id=uuid4())


def test_another_version_of_the_form_does_not_open(ring: KeyRing) -> None:
    user_id = uuid4()
    sealed = ring.seal("s3cret", user_id=user_id)

    with pytest.raises(SealBroken):
        ring.unseal(sealed.replace("v1.", "v2.", 1), user_id=user_id)


def test_the_first_key_seals_and_every_key_opens() -> None:
    user_id = uuid4()
    before = sealing.parse(f"a:{KEY_A}")
    rotated = sealing.parse(f"b:{KEY_B}\na:{KEY_A}")

    old = before.seal("old", user_id=user_id)
    new = rotated.seal("new", user_id=user_id)

    assert new.startswith("v1.b.")
    assert rotated.unseal(old, user_id=user_id) == "old"
    assert rotated.unseal(new, user_id=user_id) == "new"
    with pytest.raises(SealBroken):
        before.unseal(new, user_id=user_id)


def test_a_key_that_took_over_the_id_of_another_does_not_open() -> None:
    user_id = uuid4()
    sealed = sealing.parse(f"a:{KEY_A}").seal("s3cret", user_id=user_id)

    with pytest.raises(SealBroken):
        sealing.parse(f"a:{KEY_B}").unseal(sealed, user_id=user_id)


def test_without_a_key_nothing_is_sealed() -> None:
    with pytest.raises(SealingUnconfigured):
        KeyRing().seal("s3cret", user_id=uuid4())


def test_a_ring_may_be_written_in_lines_or_with_commas_and_comments() -> None:
    lines = sealing.parse(f"# the new one, since May\n b:{KEY_B} # seals\n\na:{KEY_A}\n")
    commas = sealing.parse(f"b:{KEY_B}, a:{KEY_A},")

    assert lines == commas
    assert list(lines.keys) == ["b", "a"]


@pytest.mark.parametrize("text", ["", "\n", " , ", "# nothing yet, but soon"])
def test_a_ring_may_be_empty(text: str) -> None:
    assert sealing.parse(text) == KeyRing()


@pytest.mark.parametrize(
    "item",
    [
        "c",
        "c:",
        f":{KEY_A}",
        f"c-1:{KEY_A}",
        f"ü:{KEY_A}",
        "c:c2VjcmV0c2VjcmV0",
        f"c:{KEY_A}AAAA",
        f"c:{KEY_A[:-1]}",
        f"c:{KEY_A[:-4]}!!!=",
        f"c:{KEY_A[:-1]}ü",
        f"a:{KEY_B}",
    ],
)
def test_a_bad_key_is_named_by_its_number_and_never_shown(item: str) -> None:
    with pytest.raises(ValueError, match="sealing key 2") as raised:
        sealing.parse(f"a:{KEY_A}\n{item}")

    assert not any(secret in str(raised.value) for secret in (KEY_A[:8], KEY_B[:8], "c2VjcmV0"))


def test_a_ring_does_not_show_its_keys() -> None:
    ring = sealing.parse(f"a:{KEY_A}")

    assert KEY_A not in repr(ring)
    assert "aaaa" not in repr(ring)


def test_a_new_key_file_is_for_its_owner_alone_and_holds_a_key_that_seals(tmp_path: Path) -> None:
    path, user_id = tmp_path / "secret.keys", uuid4()

    made = sealing.make_file(path)

    ring = sealing.load(text="", file=str(path))
    assert made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ring.unseal(ring.seal("s3cret", user_id=user_id), user_id=user_id) == "s3cret"
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_file_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "secret.keys"
    sealing.make_file(path)
    content = path.read_text()

    made = sealing.make_file(path)

    assert not made
    assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_that_make_the_key_file_at_once_one_does_and_none_ever_sees_half_of_it(tmp_path: Path) -> None:
    path, start = tmp_path / "secret.keys", threading.Barrier(8)

    def make() -> tuple[bool, int]:
        start.wait()
        return sealing.make_file(path), len(sealing.load(text="", file=str(path)).keys)

    with ThreadPoolExecutor(8) as pool:
        outcomes = [future.result() for future in [pool.submit(make) for _ in range(8)]]

    assert sorted(made for made, _ in outcomes) == [False] * 7 + [True]
    assert {keys for _, keys in outcomes} == {1}


def test_a_death_while_the_key_file_is_written_leaves_no_file_that_counts_as_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.keys"

    def die(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", die)
        with pytest.raises(KeyboardInterrupt):
            sealing.make_file(path)

    assert sealing.make_file(path)
    assert len(sealing.load(text="", file=str(path)).keys) == 1


def test_the_setting_itself_goes_before_the_file_it_names(tmp_path: Path) -> None:
    path = tmp_path / "secret.keys"
    sealing.make_file(path)

    ring = sealing.load(text=f"a:{KEY_A}", file=str(path))

    assert list(ring.keys) == ["a"]


def test_without_setting_and_file_the_ring_is_empty() -> None:
    assert sealing.load(text="", file=None) == KeyRing()
