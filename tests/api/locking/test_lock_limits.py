"""A key with a limit never holds more locks at once than that, whichever way it asks; others pay nothing."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text

from domain.configuration.settings import Settings
from tests import patience
from tests.api.auth.keyrings import bearing, new_key, revoke
from tests.api.farms import LINE, USERS, Farm, farming
from tests.patience import eventually

LIMIT = 3
HELD = """
SELECT count(*) FROM users WHERE lock_principal = :name AND lock_expires_at > clock_timestamp()
"""
MOST_AT_ONCE = """
SELECT max(held) FROM (
    SELECT sum(CASE type WHEN 'botfarm.lock.acquired.v1' THEN 1 ELSE -1 END) OVER (ORDER BY id) AS held FROM outbox
    WHERE principal = :name AND type IN ('botfarm.lock.acquired.v1', 'botfarm.lock.released.v1')
) h
"""


@pytest.fixture
def guarded(settings: Settings) -> Iterator[Farm]:
    """A farm that wants keys; its own client is an admin without a limit."""
    with farming(settings.model_copy(update={"auth": "keys"})) as farm:
        farm.client.headers["Authorization"] = f"Bearer {new_key(farm, 'root', 'admin')}"
        yield farm


@pytest.fixture
def client(guarded: Farm) -> Iterator[httpx.Client]:
    with bearing(guarded, new_key(guarded, "limited", "lock", "read", locks_most=LIMIT)) as client:
        yield client


def users_of(farm: Farm, count: int, **fields: Any) -> list[str]:
    return [farm.new_user(**fields)["id"] for _ in range(count)]


def held(farm: Farm, name: str = "limited") -> int:
    with farm.engine.begin() as conn:
        return int(conn.execute(text(HELD), {"name": name}).scalar_one())


def acquire(client: httpx.Client, user_id: str, **body: Any) -> httpx.Response:
    return client.post(f"{USERS}/{user_id}/acquire_lock", json=body)


def slug(answer: httpx.Response) -> str:
    return str(answer.json()["type"]).rpartition(":")[2]


def test_one_lock_more_is_429_until_one_is_released(guarded: Farm, client: httpx.Client) -> None:
    *users, last = users_of(guarded, LIMIT + 1)
    granted = [acquire(client, user_id) for user_id in users]

    refused = acquire(client, last)
    client.post(f"{USERS}/{users[0]}/release_lock")
    after = acquire(client, last)

    assert [answer.status_code for answer in (*granted, refused, after)] == [200, 200, 200, 429, 200]
    assert (slug(refused), refused.json()["locks_most"]) == ("too-many-locks", LIMIT)
    assert int(refused.headers["Retry-After"]) >= 1


def test_a_lock_that_lapsed_counts_no_more(guarded: Farm, client: httpx.Client) -> None:
    *users, last = users_of(guarded, LIMIT + 1)
    for user_id in users:
        acquire(client, user_id)
    guarded.lapse(users[0])

    assert acquire(client, last).status_code == 200


def test_repeats_and_renewals_need_no_room(guarded: Farm, client: httpx.Client) -> None:
    leases = {user_id: str(uuid.uuid4()) for user_id in users_of(guarded, LIMIT)}
    first = [acquire(client, user_id, lease_id=lease).json() for user_id, lease in leases.items()]

    again = [acquire(client, user_id, lease_id=lease) for user_id, lease in leases.items()]
    renewed = [
        client.post(f"{USERS}/{user_id}/renew_lock", json={"lease_id": lease}) for user_id, lease in leases.items()
    ]

    assert [answer.status_code for answer in (*again, *renewed)] == [200] * 2 * LIMIT
    assert [answer.json()["lock"]["token"] for answer in again] == [body["lock"]["token"] for body in first]


def test_a_pool_request_that_would_exceed_the_limit_is_refused_whole(guarded: Farm, client: httpx.Client) -> None:
    users_of(guarded, LIMIT + 2)
    pool = f"{USERS}/acquire_lock"

    answers = [client.post(pool, json={"count": count}) for count in (LIMIT + 1, 2, 2, 1, 1)]

    assert [answer.status_code for answer in answers] == [429, 200, 429, 200, 429]
    assert held(guarded) == LIMIT


def test_a_pool_request_is_answered_alike_when_it_is_repeated_at_the_limit(guarded: Farm, client: httpx.Client) -> None:
    users_of(guarded, LIMIT)
    body = {"count": LIMIT, "request_id": str(uuid.uuid4())}

    first, again = (client.post(f"{USERS}/acquire_lock", json=body) for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200)
    assert [user["lease_id"] for user in again.json()["users"]] == [user["lease_id"] for user in first.json()["users"]]


def test_what_is_waited_for_counts_when_more_is_asked_for_in_line(guarded: Farm, client: httpx.Client) -> None:
    users = users_of(guarded, LIMIT, env="line")
    for user_id in users:
        guarded.acquire(user_id)
    wish = {"env": "line", "count": 2, "wait_seconds": 5}
    waiting = guarded.callers.submit(client.post, f"{USERS}/acquire_lock", json=wish)
    assert eventually(lambda: len(client.get(f"{LINE}/").json()) == 1)

    refused = client.post(f"{USERS}/acquire_lock", json=wish)
    single = client.post(f"{USERS}/acquire_lock", json=wish | {"count": 1, "wait_seconds": 1})

    for user_id in users:
        guarded.release(user_id)
    assert refused.status_code == 429
    assert single.status_code == 409  # room for one, and it waited for it
    assert waiting.result(patience.limit(10)).status_code == 200
    assert held(guarded) == 2


def test_a_grant_from_the_line_counts_and_one_over_the_limit_keeps_no_user_from_others(
    guarded: Farm, client: httpx.Client
) -> None:
    (contested,) = users_of(guarded, 1, env="line")
    free = users_of(guarded, LIMIT)
    guarded.acquire(contested)
    waiting = guarded.callers.submit(client.post, f"{USERS}/acquire_lock", json={"env": "line", "wait_seconds": 4})
    assert eventually(lambda: len(client.get(f"{LINE}/").json()) == 1)
    for user_id in free:
        assert acquire(client, user_id).status_code == 200

    guarded.release(contested)
    others = eventually(lambda: guarded.acquire(contested).status_code == 200, seconds=3)

    assert waiting.result(patience.limit(10)).status_code == 409
    assert others
    assert held(guarded) == LIMIT


def test_a_request_over_the_limit_is_granted_once_there_is_room(guarded: Farm, client: httpx.Client) -> None:
    (contested,) = users_of(guarded, 1, env="line")
    free = users_of(guarded, LIMIT)
    guarded.acquire(contested)
    waiting = guarded.callers.submit(client.post, f"{USERS}/acquire_lock", json={"env": "line", "wait_seconds": 20})
    assert eventually(lambda: len(client.get(f"{LINE}/").json()) == 1)
    for user_id in free:
        acquire(client, user_id)
    guarded.release(contested)
    guarded.hand_out()

    client.post(f"{USERS}/{free[0]}/release_lock")

    assert waiting.result(patience.limit(10)).status_code == 200
    assert held(guarded) == LIMIT


def test_many_calls_of_every_kind_at_once_never_exceed_the_limit(guarded: Farm, client: httpx.Client) -> None:
    users = users_of(guarded, 12)

    def turn(n: int) -> list[int]:
        statuses = []
        for step in range(6):
            match (n + step) % 3:
                case 0:
                    answer = acquire(client, users[(n * 5 + step) % len(users)])
                case 1:
                    answer = client.post(f"{USERS}/acquire_lock", json={"count": 1 + step % 2})
                case _:
                    answer = client.post(f"{USERS}/acquire_lock", json={"wait_seconds": 1})
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                for user in answer.json().get("users", [answer.json()]):
                    client.post(f"{USERS}/{user['id']}/release_lock", json={"lease_id": user["lease_id"]})
        return statuses

    turns = [guarded.callers.submit(turn, n) for n in range(12)]
    statuses = [status for each in turns for status in each.result(patience.limit(60))]

    with guarded.engine.begin() as conn:
        most = conn.execute(text(MOST_AT_ONCE), {"name": "limited"}).scalar_one()
    assert set(statuses) <= {200, 409, 429}
    assert statuses.count(200) > 12
    assert statuses.count(429) > 0
    assert most == LIMIT


def test_the_most_that_was_held_at_once_is_seen_by_that_measure(guarded: Farm) -> None:
    with bearing(guarded, new_key(guarded, "free", "lock")) as client:
        for user_id in users_of(guarded, LIMIT + 2):
            acquire(client, user_id)

    with guarded.engine.begin() as conn:
        assert conn.execute(text(MOST_AT_ONCE), {"name": "free"}).scalar_one() == LIMIT + 2


def test_a_key_without_a_limit_has_nothing_counted(guarded: Farm) -> None:
    users = users_of(guarded, 4)
    said: list[str] = []
    for engine in guarded.app.state.services.engines:
        event.listen(engine, "before_cursor_execute", lambda *told: said.append(told[2]))
    with bearing(guarded, new_key(guarded, "free", "lock")) as client:
        acquire(client, users[0])
        client.post(f"{USERS}/acquire_lock", json={})
        client.post(f"{USERS}/acquire_lock", json={"wait_seconds": 1, "count": 2})
        uncounted = [line for line in said if "locks_most FROM api_keys" in line]
    with bearing(guarded, new_key(guarded, "limited", "lock", locks_most=LIMIT)) as client:
        acquire(client, users[0])

    assert uncounted == []
    assert any("locks_most FROM api_keys" in line for line in said)


def test_a_key_that_was_revoked_a_moment_ago_has_no_room(guarded: Farm, client: httpx.Client) -> None:
    users = users_of(guarded, 2)
    assert acquire(client, users[0]).status_code == 200

    revoke(guarded, "limited")

    assert acquire(client, users[1]).status_code in {401, 429}
    assert held(guarded) == 1
