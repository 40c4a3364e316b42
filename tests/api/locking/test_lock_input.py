"""What the lock verbs take for input and what not."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from domain.configuration.settings import Settings
from tests.api.farms import USERS, Farm, farming


def raw(farm: Farm, user_id: str, body: bytes) -> httpx.Response:
    return farm.client.post(
        f"{USERS}/{user_id}/acquire_lock", content=body, headers={"Content-Type": "application/json"}
    )


@pytest.fixture(scope="module")
def short(farm: Farm) -> Iterator[Farm]:
    """The shared farm behind an API whose locks last 20 seconds, and 40 at most."""
    with farming(farm.settings.model_copy(update={"lock_ttl_seconds": 20, "lock_ttl_max_seconds": 40})) as short:
        yield short


def test_the_default_ttl_is_a_setting(short: Farm, user_id: str) -> None:
    granted = short.acquire(user_id).json()

    assert granted["lock"]["ttl_seconds"] == 20
    assert short.renew(user_id, lease_id=granted["lease_id"]).json()["lock"]["ttl_seconds"] == 20


def test_the_longest_ttl_is_a_setting(short: Farm, user_id: str) -> None:
    too_long = short.acquire(user_id, ttl_seconds=41)
    lease_id = short.acquire(user_id, ttl_seconds=40).json()["lease_id"]
    renewed_too_long = short.renew(user_id, lease_id=lease_id, ttl_seconds=41)

    for answer in (too_long, renewed_too_long):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "ttl_seconds"]
        assert "40" in answer.json()["errors"][0]["msg"]


def test_the_settings_bounds_are_15_minutes_and_a_day(settings: Settings) -> None:
    assert (settings.lock_ttl_seconds, settings.lock_ttl_max_seconds) == (900, 86_400)


@pytest.mark.parametrize(
    "ttl",
    ["true", "false", '"60"', "1.5", "60.0", "6e1", "0", "-1", "86401", "1" * 40, "[60]", "{}", "NaN", "Infinity"],
)
def test_a_ttl_is_a_whole_number_of_seconds_within_bounds(farm: Farm, user_id: str, ttl: str) -> None:
    answer = raw(farm, user_id, f'{{"ttl_seconds": {ttl}}}'.encode())

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "ttl_seconds"]
    assert farm.user(user_id)["lock"] is None


@pytest.mark.parametrize("ttl_seconds", [1, 86_400, None])
def test_both_bounds_are_within(farm: Farm, user_id: str, ttl_seconds: int | None) -> None:
    assert farm.acquire(user_id, ttl_seconds=ttl_seconds).json()["lock"]["ttl_seconds"] == (ttl_seconds or 900)


@pytest.mark.parametrize("owner", ["", "o" * 201, "a\0b", "a\nb", "\x1b[2J", 7, ["ci"]], ids=repr)
def test_an_owner_is_1_to_200_printable_characters(farm: Farm, user_id: str, owner: object) -> None:
    answer = farm.acquire(user_id, owner=owner)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "owner"]


@pytest.mark.parametrize("owner", ["o" * 200, "Кот 🐈", "a%(b)s", "'; --", "{}"])
def test_any_printable_owner_is_kept_as_it_is(farm: Farm, user_id: str, owner: str) -> None:
    assert farm.acquire(user_id, owner=owner).json()["lock"]["owner"] == owner


@pytest.mark.parametrize(
    "metadata",
    [
        {"k": "v" * 2_048},
        {"k" * 2_048: "v"},
        {str(number): "é" * 100 for number in range(11)},
        {"k": 1},
        {"k": None},
        {"k": {"nested": "x"}},
        {"k": "a\0"},
        {"a\0": "v"},
        ["k", "v"],
        "k",
        None,
    ],
    ids=lambda metadata: str(metadata)[:20],
)
def test_metadata_is_an_object_of_printable_strings_up_to_2_kib(farm: Farm, user_id: str, metadata: object) -> None:
    answer = farm.acquire(user_id, metadata=metadata)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"][:2] == ["body", "metadata"]


@pytest.mark.parametrize("metadata", [{}, {"k": "v" * 2_047}, {"": ""}, {"кто": "é🐈%()s"}], ids=lambda m: str(m)[:20])
def test_metadata_within_the_limit_is_kept_as_it_is(farm: Farm, user_id: str, metadata: dict[str, str]) -> None:
    assert farm.acquire(user_id, metadata=metadata).json()["lock"]["metadata"] == metadata
    assert farm.user(user_id)["lock"]["metadata"] == metadata


@pytest.mark.parametrize(
    "body",
    [rb'{"owner": "\ud83d"}', rb'{"metadata": {"\udc08": ""}}', rb'{"metadata": {"a": "\ud83d"}}', rb'{"\ud83d": 1}'],
)
def test_half_a_surrogate_pair_is_invalid(farm: Farm, user_id: str, body: bytes) -> None:
    assert raw(farm, user_id, body).status_code == 422


def test_a_whole_surrogate_pair_is_one_character(farm: Farm, user_id: str) -> None:
    assert raw(farm, user_id, rb'{"owner": "\ud83d\udc08"}').json()["lock"]["owner"] == "🐈"


@pytest.mark.parametrize("verb", ["acquire_lock", "renew_lock", "release_lock"])
@pytest.mark.parametrize("field", ["ttl", "leaseId", "Owner", "wait", "password", "__proto__"])
def test_a_field_nobody_knows_is_refused(farm: Farm, user_id: str, verb: str, field: str) -> None:
    answer = farm.client.post(f"{USERS}/{user_id}/{verb}", json={field: "x"})

    assert answer.status_code == 422
    assert ["body", field] in [error["loc"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("body", ["[]", "1", '"lease"', "true"])
@pytest.mark.parametrize("verb", ["acquire_lock", "renew_lock", "release_lock"])
def test_a_body_is_an_object(farm: Farm, user_id: str, verb: str, body: str) -> None:
    assert farm.client.post(f"{USERS}/{user_id}/{verb}", json=json.loads(body)).status_code == 422


@pytest.mark.parametrize("user_id", ["1", "not-a-uuid", "%00", "..%2f", "0" * 31, "🤖"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/lock"),
        ("GET", "/events"),
        ("POST", "/acquire_lock"),
        ("POST", "/renew_lock"),
        ("POST", "/release_lock"),
    ],
)
def test_an_id_that_is_no_uuid_is_invalid(farm: Farm, user_id: str, method: str, path: str) -> None:
    body: dict[str, Any] = {"json": {"lease_id": user_id}} if path == "/renew_lock" else {}

    answer = farm.client.request(method, f"{USERS}/{user_id}{path}", **body)

    if "%2f" in user_id:  # a slash, however written, makes another path
        assert answer.status_code == 404
    else:
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["path", "user_id"]
