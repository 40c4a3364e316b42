"""Keys over HTTP and from the command line; what a caller may know of itself and do with what it holds."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from domain import __main__ as program
from domain import keys
from domain.configuration.settings import Settings
from tests import patience
from tests.api.auth.keyrings import FOREIGN, OWN, bearing, id_of, mistyped, new_key, revoke, unknown_key
from tests.api.farms import USERS, Farm, farming
from tests.patience import eventually

KEYS = "/api/v1/keys"
WHOAMI = "/api/v1/whoami"


@pytest.fixture(scope="module")
def guarded(fresh_settings: Callable[[], Settings]) -> Iterator[Farm]:
    """A farm that wants keys; its own client is an admin."""
    with farming(fresh_settings().model_copy(update={"auth": "keys"})) as farm:
        farm.client.headers["Authorization"] = f"Bearer {new_key(farm, 'root', 'admin')}"
        yield farm


def client_of(farm: Farm, name: str, *scopes: str, **fields: Any) -> httpx.Client:
    return bearing(farm, new_key(farm, f"{name}-{uuid.uuid4().hex[:8]}", *scopes, **fields))


def test_a_key_is_shown_when_it_is_made_and_never_again(guarded: Farm) -> None:
    made = guarded.client.post(f"{KEYS}/", json={"name": "once", "scopes": ["lock"]})

    shown = made.json()
    later = [guarded.client.get(made.headers["Location"]), guarded.client.get(KEYS, params={"limit": 1_000})]
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    assert keys.digest(shown["key"]) is not None
    assert later[0].json() == {name: value for name, value in shown.items() if name != "key"}
    assert all(shown["key"] not in answer.text and shown["key"][8:] not in answer.text for answer in later)
    assert (shown["created_by"], shown["hint"]) == ("root", shown["key"][:8])


def test_a_new_key_has_the_scopes_and_projects_it_was_made_with(guarded: Farm) -> None:
    wish = {"name": "ci", "scopes": ["lock", "read"], "projects": [str(OWN)], "locks_most": 3}
    key = guarded.client.post(f"{KEYS}/", json=wish | {"expires_at": "2100-01-01T00:00:00Z"}).json()["key"]

    with bearing(guarded, key) as client:
        shown = client.get(WHOAMI).json()

    assert shown == {
        "principal": "ci",
        "scopes": ["read", "lock"],
        "projects": [str(OWN)],
        "limits": {"locks_most": 3, "expires_at": "2100-01-01T00:00:00.000000Z"},
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x" * 101},
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": ["read", "read"]},
        {"projects": []},
        {"locks_most": 0},
        {"locks_most": True},
        {"expires_at": "tomorrow"},
        {"hash": "x"},
    ],
    ids=str,
)
def test_an_invalid_key_is_not_made(guarded: Farm, wrong: dict[str, Any]) -> None:
    answer = guarded.client.post(f"{KEYS}/", json={"name": "wrong", "scopes": ["read"], **wrong})

    assert answer.status_code == 422


def test_a_name_of_a_key_in_force_is_not_given_to_another(guarded: Farm) -> None:
    body = {"name": "twice", "scopes": ["read"]}
    first = guarded.client.post(f"{KEYS}/", json=body)

    second = guarded.client.post(f"{KEYS}/", json=body)

    assert (first.status_code, second.status_code) == (201, 409)
    assert second.json()["type"] == "urn:botfarm:problem:key-name-taken"


def test_all_keys_are_listed_page_by_page(guarded: Farm) -> None:
    made = {guarded.client.post(KEYS, json={"name": f"page-{n}", "scopes": ["read"]}).json()["id"] for n in range(3)}

    seen: list[str] = []
    page = guarded.client.get(KEYS, params={"limit": 1})
    while page.json():
        seen += [key["id"] for key in page.json()]
        page = guarded.client.get(page.links["next"]["url"])

    assert made <= set(seen)
    assert len(seen) == len(set(seen))


def test_after_a_rotation_both_keys_are_good_and_without_overlap_the_new_one_only(guarded: Farm) -> None:
    made = guarded.client.post(KEYS, json={"name": "rotated", "scopes": ["read"]}).json()
    rotate = f"{KEYS}/{made['id']}/rotate"

    second = guarded.client.post(rotate).json()
    statuses = [status(guarded, key) for key in (made["key"], second["key"])]
    third = guarded.client.post(rotate, json={"overlap_seconds": 0}).json()

    assert statuses == [200, 200]
    assert second["previous_valid_until"] is not None
    assert eventually(lambda: status(guarded, second["key"]) == 401, seconds=5)
    assert status(guarded, third["key"]) == 200


def status(farm: Farm, key: str) -> int:
    with bearing(farm, key) as client:
        return client.get(WHOAMI).status_code


def test_every_kind_of_bad_key_gets_the_same_response(guarded: Farm) -> None:
    good = new_key(guarded, "good", "admin")
    late = new_key(guarded, "late", "admin", seconds=-1)
    gone = new_key(guarded, "gone", "admin")
    revoke(guarded, "gone")
    presented = [f"Bearer {key}" for key in (mistyped(good), unknown_key(), late, gone, "x" * 5_000)]
    presented += [good, f"Basic {good}", "Bearer", "Bearer \xff"]

    with bearing(guarded, None) as client:
        answers = [client.get(WHOAMI, headers=[(b"Authorization", shown.encode("latin-1"))]) for shown in presented]
        answers += [client.get(WHOAMI), client.get("/api/v1/nowhere"), client.post(KEYS, content=b"{not json")]
        answers += [client.get(WHOAMI, headers=[("Authorization", f"Bearer {good}")] * 2)]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}
    bodies = [{name: shown for name, shown in answer.json().items() if name != "instance"} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert status(guarded, good) == 200


def test_a_key_is_refused_after_its_expiry(guarded: Farm) -> None:
    key = new_key(guarded, "short", "read", seconds=1.5)

    assert status(guarded, key) == 200
    assert eventually(lambda: status(guarded, key) == 401, seconds=3)


def test_the_use_of_a_key_is_recorded_within_seconds(guarded: Farm) -> None:
    key = new_key(guarded, "used", "read")
    path = f"{KEYS}/{id_of(guarded, 'used')}"
    assert guarded.client.get(path).json()["last_used_at"] is None

    assert status(guarded, key) == 200

    assert eventually(lambda: guarded.client.get(path).json()["last_used_at"] is not None, seconds=5)


def test_with_authentication_off_a_key_changes_nothing(farm: Farm) -> None:
    with bearing(farm, unknown_key()) as client:
        shown = client.get(WHOAMI).json()

    assert (shown["principal"], shown["scopes"]) == ("anonymous", ["read", "lock", "events", "admin"])
    assert "security" not in farm.client.get("/openapi.json").text.split('"components"')[0]


def test_an_admin_limited_to_projects_makes_no_key_with_more_than_its_own(guarded: Farm) -> None:
    with client_of(guarded, "limited", "admin", projects=[OWN]) as admin:
        unlimited = admin.post(KEYS, json={"name": "n1", "scopes": ["read"]})
        wider = admin.post(KEYS, json={"name": "n2", "scopes": ["read"], "projects": [str(OWN), str(FOREIGN)]})
        homeless = admin.post(f"{USERS}/", json={"login": uuid.uuid4().hex})
        user = admin.post(f"{USERS}/", json={"login": uuid.uuid4().hex, "project_id": str(OWN)}).json()
        moves = [admin.patch(f"{USERS}/{user['id']}", json={"project_id": shown}) for shown in (None, str(FOREIGN))]
        filters = [admin.get(f"{USERS}/", params={"project_id": shown}) for shown in ("none", str(FOREIGN))]

    answers = [unlimited, wider, homeless, *moves, *filters]
    assert [answer.status_code for answer in answers] == [403] * 7
    assert {answer.json()["type"] for answer in answers} == {"urn:botfarm:problem:forbidden"}


def test_a_user_that_moves_to_a_foreign_project_is_lost_to_the_key_at_once(guarded: Farm) -> None:
    user = guarded.new_user(project_id=str(OWN), password="s3cret")
    with client_of(guarded, "mover", "lock", "read", projects=[OWN]) as client:
        pool = {"request_id": str(uuid.uuid4()), "project_id": str(OWN), "labels": {}, "domain": user["domain"]}
        guarded.change(user["id"], domain="moving")
        granted = client.post(f"{USERS}/acquire_lock", json=pool | {"domain": "moving"})
        guarded.change(user["id"], project_id=str(FOREIGN))
        lease = granted.json()["users"][0]["lease_id"]
        renewed = client.post(f"{USERS}/{user['id']}/renew_lock", json={"lease_id": lease})
        repeated = client.post(f"{USERS}/acquire_lock", json=pool | {"domain": "moving"})

    assert granted.status_code == 200
    assert renewed.status_code == 404
    assert repeated.status_code == 409
    assert "s3cret" not in repeated.text


def test_only_the_holder_renews_and_releases_and_only_an_admin_forces(guarded: Farm) -> None:
    user_id = guarded.new_user()["id"]
    path = f"{USERS}/{user_id}/release_lock"
    with client_of(guarded, "one", "lock") as one, client_of(guarded, "two", "lock") as two:
        lease = one.post(f"{USERS}/{user_id}/acquire_lock").json()["lease_id"]

        bare = two.post(path)
        by_lease = two.post(path, json={"lease_id": lease})
        renewed = two.post(f"{USERS}/{user_id}/renew_lock", json={"lease_id": lease})
        forced = two.post(path, json={"force": True, "reason": "mine"})
        by_admin = guarded.client.post(path, json={"force": True, "reason": "stuck"})

    slugs = [answer.json()["type"].rpartition(":")[2] for answer in (bare, by_lease, renewed, forced)]
    assert slugs == ["not-lock-holder", "lease-lost", "lease-lost", "forbidden"]
    assert by_admin.json()["released"] is True


def test_the_history_names_who_forced_a_release_and_why(guarded: Farm) -> None:
    user_id = guarded.new_user()["id"]
    with client_of(guarded, "holder", "lock") as holder:
        name = holder.get(WHOAMI).json()["principal"]
        holder.post(f"{USERS}/{user_id}/acquire_lock")
    guarded.client.post(f"{USERS}/{user_id}/release_lock", json={"force": True, "reason": "stuck"})
    guarded.publish()

    released, acquired, created = guarded.client.get(f"{USERS}/{user_id}/events").json()

    assert [event["principal"] for event in (created, acquired, released)] == ["root", name, "root"]
    assert (released["data"]["reason"], released["data"]["note"]) == ("forced", "stuck")


def test_an_admin_cancels_what_another_principal_waits_for(guarded: Farm) -> None:
    user_id, request_id = guarded.new_user()["id"], str(uuid.uuid4())
    guarded.acquire(user_id)
    with client_of(guarded, "waiter", "lock") as waiter:
        wish = {"wait_seconds": 20, "lease_id": request_id}
        waiting = guarded.callers.submit(waiter.post, f"{USERS}/{user_id}/acquire_lock", json=wish)
        assert eventually(lambda: guarded.request(request_id).status_code == 200)
        with client_of(guarded, "stranger", "lock") as stranger:
            assert stranger.get(f"/api/v1/lock_requests/{request_id}").status_code == 404
            assert stranger.delete(f"/api/v1/lock_requests/{request_id}").status_code == 404

        assert guarded.cancel(request_id).status_code == 204

        assert waiting.result(patience.limit(10)).status_code == 404


def create_key(monkeypatch: pytest.MonkeyPatch, settings: Settings, *options: str) -> int:
    monkeypatch.setenv("DATABASE_URL", settings.database_url)
    return program.main(["create-key", *options])


def test_the_first_key_is_made_by_a_command_and_printed_once(
    guarded: Farm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, expires = f"first-{uuid.uuid4().hex}", "2100-01-01T00:00:00Z"
    options = ["--scope", "admin", "--scope", "read", "--project", str(OWN), "--locks-most", "2", "--expires", expires]

    code = create_key(monkeypatch, guarded.settings, name, *options)
    key = capsys.readouterr().out.strip()
    again = create_key(monkeypatch, guarded.settings, name, "--scope", "read")

    with bearing(guarded, key) as client:
        shown = client.get(WHOAMI).json()
    assert (code, again) == (0, 1)
    assert (shown["principal"], shown["scopes"], shown["projects"]) == (name, ["read", "admin"], [str(OWN)])
    assert shown["limits"]["locks_most"] == 2
    assert "is in force" in capsys.readouterr().err


def test_an_expiry_of_the_command_needs_its_offset(
    guarded: Farm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (["--expires", "2100-01-01T00:00:00"], ["--locks-most", "0"], ["--scope", "root"], []):
        with pytest.raises(SystemExit):
            create_key(monkeypatch, guarded.settings, "x", *(["--scope", "read"] if wrong else []), *wrong)
    assert "--expires" in capsys.readouterr().err
