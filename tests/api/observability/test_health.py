"""Health, liveness and readiness."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from api.observability import health as checks
from domain import heartbeats
from domain.configuration.settings import Settings
from domain.events import epochs
from domain.postgres import engines
from domain.postgres.schema_version import required
from domain.processes import probes
from standalone.servers.postgres import Postgres
from standalone.servers.valkey import Valkey
from tests.api.farms import Farm, farming
from tests.freezing import frozen
from tests.patience import eventually

NO_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PROBE_INTERVAL_SECONDS", 0.1)


def work(farm: Farm) -> None:
    """Write the heartbeats of a worker."""
    with farm.engine.begin() as conn:
        epochs.beat(conn)
        heartbeats.beat(conn, part="expiry")


def health(farm: Farm) -> httpx.Response:
    return farm.client.get("/health")


def becomes(farm: Farm, status: str, *, seconds: float = 10) -> bool:
    return eventually(lambda: health(farm).json()["status"] == status, seconds=seconds)


def statuses(farm: Farm) -> dict[str, str]:
    return {name: check["status"] for name, check in health(farm).json()["checks"].items()}


def test_the_status_is_ok_while_all_parts_work(served: Farm) -> None:
    work(served)

    assert becomes(served, "ok")
    answer = health(served)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json()) == {"status", "checks"}
    assert statuses(served) == dict.fromkeys(("postgres", "redis", "worker", "outbox"), "ok")


def test_each_check_has_its_age_and_its_figures(served: Farm) -> None:
    work(served)
    user_id = served.new_user()["id"]
    served.acquire(user_id)
    served.lapse(user_id)

    assert eventually(lambda: health(served).json()["checks"]["worker"].get("lapsed_locks") == 1)
    reported = health(served).json()["checks"]
    assert all(0 <= check["checked_seconds_ago"] < 4 for check in reported.values())
    assert reported["worker"]["heartbeat_age_seconds"] >= 0
    assert reported["outbox"]["pending"] == 2
    assert reported["outbox"]["oldest_seconds"] >= 0
    assert reported["outbox"]["relay_lag"] == 0
    assert reported["postgres"]["schema"] == required()


def test_the_lag_of_the_relay_counts_numbered_unpublished_events(served: Farm) -> None:
    served.new_user()
    served.new_user()
    served.publish()

    assert eventually(lambda: health(served).json()["checks"]["outbox"].get("relay_lag") == 2)


def test_without_a_worker_the_service_is_degraded_and_locks(served: Farm) -> None:
    assert becomes(served, "degraded")

    assert health(served).status_code == 200
    assert statuses(served)["worker"] == "down"
    assert served.acquire(served.new_user()["id"]).status_code == 200


@pytest.mark.parametrize("part", ["relay", "expiry"])
def test_a_worker_of_which_one_part_has_stopped_is_down(served: Farm, part: str) -> None:
    work(served)
    assert becomes(served, "ok")

    earlier = "clock_timestamp() - interval '1 minute'"
    served.execute(
        f"UPDATE relay_state SET heartbeat_at = {earlier}"
        if part == "relay"
        else f"UPDATE heartbeats SET seen_at = {earlier}"
    )

    assert becomes(served, "degraded")
    assert statuses(served)["worker"] == "down"


def test_a_change_that_waits_too_long_for_its_number_is_reported(served: Farm) -> None:
    work(served)
    served.new_user()

    served.execute("UPDATE outbox SET occurred_at = occurred_at - interval '1 minute'")

    assert eventually(lambda: statuses(served)["outbox"] == "down")
    assert health(served).status_code == 200


def test_without_redis_the_service_is_degraded_and_ready(settings: Settings) -> None:
    with farming(settings.model_copy(update={"redis_url": NO_REDIS})) as farm:
        work(farm)

        assert eventually(lambda: statuses(farm) == {"postgres": "ok", "redis": "down", "worker": "ok", "outbox": "ok"})
        assert health(farm).json()["status"] == "degraded"
        assert health(farm).status_code == 200
        assert farm.client.get("/readyz").status_code == 200


def test_a_redis_that_comes_back_is_noticed(settings: Settings, own_valkey: Valkey) -> None:
    with farming(settings.model_copy(update={"redis_url": own_valkey.url()})) as farm:
        assert eventually(lambda: statuses(farm)["redis"] == "ok")

        own_valkey.kill()
        assert eventually(lambda: statuses(farm)["redis"] == "down")
        own_valkey.start()

        assert eventually(lambda: statuses(farm)["redis"] == "ok")


def timed(ask: Callable[[], Any]) -> float:
    started = time.monotonic()
    ask()
    return time.monotonic() - started


def test_without_postgres_the_service_is_unavailable_and_alive(settings: Settings, own_postgres: Postgres) -> None:
    with farming(settings.model_copy(update={"database_url": own_postgres.url()})) as farm:
        assert eventually(lambda: farm.client.get("/readyz").status_code == 200)
        with frozen(own_postgres):
            times = [timed(lambda: health(farm)) for _ in range(20)]
            assert eventually(lambda: health(farm).status_code == 503, seconds=6)

            assert max([*times, timed(lambda: health(farm))]) < 2
            assert health(farm).json()["status"] == "unavailable"
            assert statuses(farm)["postgres"] == "down"
            assert farm.client.get("/livez").status_code == 200
            assert farm.client.get("/readyz").status_code == 503
        assert eventually(lambda: farm.client.get("/readyz").status_code == 200)
        assert becomes(farm, "degraded")


def test_a_schema_that_is_too_old_is_not_ready(served: Farm) -> None:
    assert eventually(lambda: served.client.get("/readyz").status_code == 200)

    served.execute("DELETE FROM alembic_version")

    assert eventually(lambda: served.client.get("/readyz").status_code == 503)
    assert served.client.get("/livez").status_code == 200


def test_a_schema_newer_than_the_program_is_ready(served: Farm) -> None:
    served.execute("UPDATE alembic_version SET version_num = '9999'")

    assert eventually(lambda: health(served).json()["checks"]["postgres"].get("schema") == "9999")
    assert served.client.get("/readyz").status_code == 200


def test_a_transaction_that_is_open_for_long_is_named_and_locking_continues(
    served: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(served)
    assert becomes(served, "ok")
    assert "oldest_transaction" not in health(served).json()["checks"]["postgres"]
    monkeypatch.setattr(checks, "OLD_SECONDS", 0.5)
    reader = engines.engine(served.settings.database_url, name="nightly-report")

    with reader.connect() as conn:
        pid = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
        assert eventually(lambda: statuses(served)["postgres"] == "degraded")
        work(served)
        reported = health(served)
        user_id = served.new_user()["id"]
        assert served.acquire(user_id).status_code == 200

    assert reported.status_code == 200
    assert reported.json()["status"] == "degraded"
    assert reported.json()["checks"]["postgres"]["oldest_transaction"] == f"pid {pid}, application nightly-report"
    assert reported.json()["checks"]["postgres"]["oldest_transaction_seconds"] >= 0.5
    assert served.client.get("/readyz").status_code == 200
    reader.dispose()
    assert eventually(lambda: statuses(served)["postgres"] == "ok")


def test_a_transaction_in_another_database_is_not_reported(
    served: Farm, admin_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "OLD_SECONDS", 0.2)
    stranger = engines.engine(admin_engine.url.render_as_string(hide_password=False), name="stranger")

    with stranger.connect() as conn:
        conn.execute(text("SELECT 1"))
        time.sleep(1)
        reported = health(served).json()["checks"]["postgres"]

    assert "oldest_transaction" not in reported
    stranger.dispose()
