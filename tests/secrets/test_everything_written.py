"""No secret is written where it does not belong, by any process of a farm, and a scan that finds nothing can find."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis
from sqlalchemy import Engine, create_engine, make_url, text

from domain import keys
from domain.keys import NewKey
from standalone.servers import data_places as folders
from tests import patience
from tests.secrets import collecting
from tests.secrets.collecting import Answers
from tests.secrets.scanning import API_KEY, LEASE, PASSWORD, WEBHOOK_SECRET, Place, Secret, find
from tests.secrets.stories import PLANTED, Story
from tests.standalone.conftest import started
from tests.worker.webhooks.receivers import receiving

DATABASE_PASSWORD, SEALING_KEY = "database password", "sealing key"
MUST_ANSWER = {
    "GET /api/v1/users/": {200, 401},
    "POST /api/v1/users/": {201, 422, 500},
    "POST /api/v1/users/batch": {200, 500},
    "POST /api/v1/users/{id}/acquire_lock": {200, 409, 422, 500},
    "POST /api/v1/users/{id}/renew_lock": {200, 409},
    "POST /api/v1/users/{id}/release_lock": {200, 409},
    "POST /api/v1/users/acquire_lock": {200, 404},
    "POST /api/v1/users/renew_lock": {200},
    "POST /api/v1/users/release_lock": {200},
    "POST /api/v1/webhooks/": {201, 422},
    "POST /api/v1/webhooks/{id}/rotate_secret": {200},
    "POST /api/v1/webhooks/{id}/deliveries/{id}/send_again": {202},
    "PATCH /api/v1/users/{id}": {200, 422, 500},
    "DELETE /api/v1/users/{id}": {204},
    "DELETE /api/v1/lock_requests/{id}": {204},
    "POST /api/v1/keys/": {201},
    "POST /api/v1/keys/{id}/rotate": {200},
    "DELETE /api/v1/keys/{id}": {204},
}


@dataclass
class Life:
    """What a whole farm has written by its end, and the secrets that went in."""

    secrets: list[Secret]
    places: list[Place]
    answers: Answers


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A farm of processes of its own, from its start to its end."""
    folder = tmp_path_factory.mktemp("life")
    data_dir, answers = folder / "data", Answers()
    arguments = ["--data-dir", str(data_dir), "--port", "0"]
    variables = {"BOTFARM_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8", "BOTFARM_AUTH": "keys"}
    with started(folder, arguments, variables) as run, receiving() as receiver:
        body = run.ready()
        engine = create_engine(body["database_url"])
        with engine.begin() as conn:
            _, key = keys.create(conn, new=NewKey("root", ["admin"]), created_by="test")
        bearer = {"Authorization": f"Bearer {key}"}
        with httpx.Client(
            base_url=body["api_url"], timeout=patience.limit(30), headers=bearer, event_hooks=answers.hooks
        ) as client:
            story = Story(client, engine, receiver, keys={key})
            story.tell()
        found = [*collecting.rows(engine), *collecting.entries(body["redis_url"])]
        found += [
            Place.of(f"worker's {path}", httpx.get(body["worker_url"] + path).text) for path in ("/metrics", "/health")
        ]
        found += [
            *answers.places,
            Place.of("stream over HTTP", story.stream),
            *collecting.deliveries(receiver.received),
        ]
        postgres_home = Path(psutil.Process(body["pids"]["postgres"]).cwd())
        engine.dispose()
        run.popen.terminate()
        _, out, err = run.end()
        found += [Place.of("output of standalone", out + err), *_left(data_dir), *_data(postgres_home)]
    secrets = [Secret(PASSWORD, PLANTED), Secret(DATABASE_PASSWORD, str(make_url(body["database_url"]).password))]
    secrets += [Secret(SEALING_KEY, key) for key in _sealing_keys(data_dir)]
    secrets += [Secret(LEASE, lease) for lease in story.leases | answers.leases()]
    secrets += [Secret(WEBHOOK_SECRET, secret.removeprefix("whsec_")) for secret in story.secrets]
    secrets += [Secret(API_KEY, key) for key in story.keys]
    yield Life(secrets, found, answers)
    folders.discard(data_dir)


def _left(data_dir: Path) -> Iterator[Place]:
    """What lies in the data folder. Postgres quotes statements that fail, and leases lie in its tables anyway."""
    for place in collecting.files(data_dir):
        belongs = {"postgres.password": {DATABASE_PASSWORD}, "secret.keys": {SEALING_KEY}}
        own = belongs.get(Path(place.name).name, set())
        quoting = {LEASE} if "postgres" in place.name else set()
        yield Place(place.name, place.content, frozenset(own | quoting))


def _data(postgres_home: Path) -> Iterator[Place]:
    return collecting.files(postgres_home, LEASE)


def _sealing_keys(data_dir: Path) -> list[str]:
    return [line.partition(":")[2] for line in (data_dir / "secret.keys").read_text().splitlines() if ":" in line]


def test_no_secret_is_written_where_it_does_not_belong(life: Life) -> None:
    assert find(life.secrets, life.places) == []


def test_the_scan_went_everywhere(life: Life) -> None:
    """So that it is no farm without secrets that was looked at."""
    names = {place.name.partition(":")[0] for place in life.places if place.content}
    missed = {call: wanted - life.answers.statuses.get(call, set()) for call, wanted in MUST_ANSWER.items()}

    assert {call: statuses for call, statuses in missed.items() if statuses} == {}
    assert {secret.kind for secret in life.secrets} >= {
        PASSWORD,
        LEASE,
        WEBHOOK_SECRET,
        DATABASE_PASSWORD,
        SEALING_KEY,
        API_KEY,
    }
    assert len([secret for secret in life.secrets if secret.kind == LEASE]) > 10
    assert names >= {"table users", "table events", "table webhooks", "table webhook_deliveries"}
    assert names >= {
        "stream in Redis",
        "webhook delivery",
        "stream over HTTP",
        "worker's /metrics",
        "output of standalone",
    }
    assert names >= {f"file data/logs/{part}.log" for part in ("api", "worker", "postgres", "valkey")}
    assert len([name for name in names if name.startswith("file ")]) > 100


def test_secrets_stand_where_they_belong(life: Life) -> None:
    """The same scan, told that they belong nowhere, sees them: it knows their spelling."""
    nowhere = [Place(place.name, place.content) for place in life.places]

    seen = {finding.rpartition(": ")[2] for finding in find(life.secrets, nowhere)}

    kinds = (PASSWORD, LEASE, WEBHOOK_SECRET, DATABASE_PASSWORD, SEALING_KEY, API_KEY)
    assert seen >= {f"a planted {kind}" for kind in kinds}


SECRETS = [Secret(PASSWORD, 'hunter2 "ü"-planted'), Secret(LEASE, "0f8fad5b-d9cb-469f-a165-70867728950e")]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret.kind)
@pytest.mark.parametrize(
    "spell",
    [
        lambda value: value.encode(),
        lambda value: value.encode().hex().encode(),
        lambda value: str(httpx.URL("http://a/", params={"q": value})).encode().replace(b"+", b"%20"),
        lambda value: json.dumps({"password": value}).encode(),
        lambda value: base64.b64encode(value.encode()),
        lambda value: base64.b64encode(b"x" + value.encode()),
        lambda value: base64.b64encode(b"password=" + value.encode() + b"&more"),
        lambda value: base64.b64encode(b"xy" + value.encode() + b"z"),
    ],
    ids=["plain", "hex", "quoted", "JSON", "base64", "base64 after one", "base64 within", "base64 after two"],
)
def test_a_secret_is_found_however_it_is_spelled(secret: Secret, spell: Callable[[str], bytes]) -> None:
    assert find([secret], [Place("here", b"before " + spell(secret.value) + b" after")]) == [
        f"here: a planted {secret.kind}"
    ]


def test_a_secret_that_belongs_somewhere_is_no_finding_there_and_others_still_are() -> None:
    place = Place("here", SECRETS[0].value.encode() + SECRETS[1].value.encode(), frozenset({LEASE}))

    assert find(SECRETS, [place]) == [f"here: a planted {PASSWORD}"]


@pytest.mark.parametrize(("kind", "text"), [(WEBHOOK_SECRET, f"whsec_{'a' * 32}"), (API_KEY, f"bf_{'a' * 32}")])
def test_what_is_shaped_like_a_secret_is_found_though_nobody_planted_it(kind: str, text: str) -> None:
    assert find([], [Place.of("here", f"say {text}.")]) == [f"here: something shaped like a {kind}"]


@pytest.mark.parametrize("table", ["events", "outbox", "webhook_deliveries", "users"])
def test_one_that_is_planted_in_a_table_is_found(engine: Engine, table: str) -> None:
    lease, planted = SECRETS[1].value, "planted"
    inserts = {
        "events": "INSERT INTO events VALUES (1, 1, gen_random_uuid(), NULL, 1, 't', jsonb_build_object('a', :it),"
        " now())",
        "outbox": "INSERT INTO outbox (type, data, occurred_at) VALUES ('t', jsonb_build_object('a', :it), now())",
        "users": "INSERT INTO users (id, login, env, domain, created_at, updated_at, lock_version, available_at,"
        " last_lease_note) VALUES (gen_random_uuid(), 'a', 'a', 'a', now(), now(), 1, now(), :it)",
        "webhook_deliveries": "WITH hook AS (INSERT INTO webhooks (id, url, secret_sealed, status_since, seq,"
        " next_attempt_at, created_at, updated_at) VALUES (gen_random_uuid(), 'u', 's', now(), 0, now(), now(), now())"
        " RETURNING id) INSERT INTO webhook_deliveries (webhook_id, event_id, seq, kind, attempt, requested_at,"
        " latency_ms, status, answer) SELECT id, gen_random_uuid(), 1, 'first', 1, now(), 1, 200, :it FROM hook",
    }
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE IF NOT EXISTS events_all PARTITION OF events DEFAULT"))
        conn.execute(text(inserts[table]), {"it": f"{planted} {lease}"})

    found = find([Secret(LEASE, lease)], collecting.rows(engine))

    assert f"table {table}: a planted {LEASE}" in found


@pytest.mark.parametrize("kind", ["string", "hash", "list", "set", "zset", "stream", "key"])
def test_one_that_is_planted_in_redis_is_found(redis_url: str, redis_prefix: str, kind: str) -> None:
    client, key, value = redis.Redis.from_url(redis_url), f"{redis_prefix}planted", SECRETS[0].value
    plant: dict[str, Callable[[], Any]] = {
        "string": lambda: client.set(key, value),
        "hash": lambda: client.hset(key, "json", value),
        "list": lambda: client.rpush(key, "a", value),
        "set": lambda: client.sadd(key, value),
        "zset": lambda: client.zadd(key, {value: 1}),
        "stream": lambda: client.xadd(key, {"e": value}),
        "key": lambda: client.set(key + value, "1"),
    }
    plant[kind]()

    found = find(SECRETS, collecting.entries(redis_url))

    client.delete(key, key + value)
    client.close()
    assert len(found) == 1
    assert found[0].endswith(f"a planted {PASSWORD}")


def test_one_that_is_planted_in_a_file_or_an_answer_is_found(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "api.log").write_text(f'{{"event": "http_request", "lease": "{SECRETS[1].value}"}}\n')
    answers = Answers()
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"lease_id": SECRETS[1].value}))
    with httpx.Client(transport=transport, event_hooks=answers.hooks, base_url="http://farm") as client:
        client.get("/api/v1/users/")
        client.post("/api/v1/users/acquire_lock")

    assert find(SECRETS, collecting.files(tmp_path)) == [f"file {tmp_path.name}/logs/api.log: a planted {LEASE}"]
    assert find(SECRETS, answers.places) == [f"answer to GET /api/v1/users/ 200: a planted {LEASE}"]
