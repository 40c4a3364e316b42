"""How often one caller may call a process, and who counts as one caller."""

from typing import Any

import pytest

from api.middleware.limits import Limits
from api.middleware.rates import rate_of
from domain.errors import DatabaseUnavailable
from tests.api.auth.keyrings import new_key, revoke, unknown_key
from tests.api.farms import USERS, Crowded, Farm
from tests.patience import eventually

WHOAMI = "/api/v1/whoami"


def code(farm: Farm, authorization: str | None, path: str = WHOAMI) -> int:
    headers = {} if authorization is None else {"Authorization": authorization}
    return farm.client.get(path, headers=headers).status_code


def codes(farm: Farm, *keys: str) -> list[int]:
    """What a call with each key is answered, one after the other."""
    return [code(farm, f"Bearer {key}") for key in keys]


def made_up(count: int) -> list[str]:
    return [unknown_key() for _ in range(count)]


@pytest.fixture
def guarded(crowded: Crowded) -> Farm:
    """A farm that wants keys, and of each caller no more than three calls a minute."""
    return crowded(rate_limit="3/minute", auth="keys")


@pytest.fixture
def hits(guarded: Farm, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is counted, as it is counted."""
    layer: Any = guarded.app.front
    while not isinstance(layer, Limits):
        layer = layer._app
    assert layer._rate is not None
    counted: list[str] = []
    storage = layer._rate._storage
    increment = storage.incr

    def noted(key: str, *arguments: Any, **named: Any) -> int:
        counted.append(key)
        return increment(key, *arguments, **named)

    monkeypatch.setattr(storage, "incr", noted)
    return counted


def test_a_caller_beyond_its_rate_gets_a_retry_after(crowded: Crowded) -> None:
    farm = crowded(rate_limit="5/minute")

    answers = [farm.client.get(f"{USERS}/") for _ in range(7)]
    hot = farm.client.post(f"{USERS}/acquire_lock", json={})

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    for refused in (answers[-1], hot):
        assert refused.status_code == 429
        assert refused.json()["type"] == "urn:botfarm:problem:rate-limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.headers["X-Request-ID"]
    assert farm.client.get("/health").status_code == 200
    assert farm.client.get("/metrics").text.count('status="429"') == 2  # by route: unknown for both methods


def test_a_rate_starts_over_with_its_window(crowded: Crowded) -> None:
    farm = crowded(rate_limit="2/second")

    assert eventually(lambda: farm.client.get(f"{USERS}/").status_code == 429)
    assert eventually(lambda: farm.client.get(f"{USERS}/").status_code == 200, seconds=3)


def test_without_keys_a_made_up_key_is_no_way_round_the_rate(crowded: Crowded) -> None:
    farm = crowded(rate_limit="3/minute")

    assert codes(farm, *made_up(5)) == [200] * 3 + [429] * 2


def test_with_keys_each_that_is_good_has_a_rate_of_its_own(guarded: Farm) -> None:
    one, other = (new_key(guarded, name, "read") for name in ("one", "other"))

    assert codes(guarded, *[one] * 5) == [200] * 3 + [429] * 2
    assert codes(guarded, *[other] * 5) == [200] * 3 + [429] * 2


def test_with_keys_a_made_up_key_is_no_way_round_the_rate_either(guarded: Farm) -> None:
    assert codes(guarded, *made_up(5)) == [401] * 3 + [429] * 2
    assert code(guarded, None) == 429
    assert code(guarded, "Basic Og==") == 429
    assert code(guarded, f"Bearer {unknown_key()}", "/openapi.json") == 429  # where nobody asks for a key


def test_made_up_keys_beyond_the_rate_cause_no_lookup(guarded: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    identities = guarded.app.state.services.identities
    asked: list[bytes] = []
    ask = identities._ask

    async def counted(digest: bytes) -> object:
        asked.append(digest)
        return await ask(digest)

    monkeypatch.setattr(identities, "_ask", counted)

    codes(guarded, *made_up(10))

    assert len(asked) == 3


def test_made_up_keys_hinder_no_key_of_the_same_address_that_is_known_to_be_good(guarded: Farm) -> None:
    good, late = (new_key(guarded, name, "read") for name in ("good", "late"))
    assert codes(guarded, good) == [200]

    assert codes(guarded, *made_up(4)) == [401] * 3 + [429]

    assert codes(guarded, good, good, good) == [200, 200, 429]
    assert codes(guarded, late) == [429]  # nobody knows yet that it is good


def test_known_good_keys_use_nothing_of_the_rate_of_their_address(guarded: Farm) -> None:
    keys = [new_key(guarded, f"key-{n}", "read") for n in range(8)]

    assert codes(guarded, *keys) == [200] * 8
    assert codes(guarded, *made_up(4)) == [401] * 3 + [429]


def test_a_key_that_is_no_longer_in_force_counts_by_its_address_again(guarded: Farm) -> None:
    key = new_key(guarded, "key", "read")
    assert codes(guarded, key) == [200]
    revoke(guarded, "key")
    guarded.app.state.services.identities._good.clear()
    assert codes(guarded, key) == [401]

    assert codes(guarded, *made_up(3)) == [401] * 3

    assert codes(guarded, key) == [429]  # its third call: by itself it might be made


def test_a_good_key_is_one_caller_however_its_header_is_written(guarded: Farm) -> None:
    key = new_key(guarded, "key", "read")
    written = [f"Bearer {key}", f"bearer {key}", f"BEARER   {key}", f"bEARER {key}"]

    assert [code(guarded, each) for each in written] == [200] * 3 + [429]


def test_a_call_with_a_known_good_key_is_counted_once(guarded: Farm, hits: list[str]) -> None:
    key = new_key(guarded, "key", "read")
    codes(guarded, key)
    assert len(hits) == 2  # by its address, until it was let in, and by itself
    hits.clear()

    codes(guarded, key)

    assert len(hits) == 1
    assert key[3:] not in hits[0]


def test_while_postgres_cannot_say_a_key_stays_what_it_was_held_for(
    guarded: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = guarded.app.state.services.identities
    good = new_key(guarded, "good", "read")
    assert codes(guarded, good) == [200]

    async def away(_digest: bytes) -> object:
        raise DatabaseUnavailable

    monkeypatch.setattr(identities, "_ask", away)
    identities._good.clear()

    assert codes(guarded, good) == [503]
    assert codes(guarded, *made_up(4)) == [503] * 3 + [429]
    assert codes(guarded, good) == [503]


def test_without_a_rate_nobody_is_counted(farm: Farm) -> None:
    assert {code(farm, None, "/openapi.json") for _ in range(50)} == {200}


@pytest.mark.parametrize("text", ["often", "600", "0/second", "/second", "-1/second", "600/fortnight"])
def test_an_invalid_rate_is_reported_by_its_setting(text: str) -> None:
    with pytest.raises(ValueError, match="BOTFARM_RATE_LIMIT"):
        rate_of(text)
