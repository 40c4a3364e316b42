"""Passes over sealed rows miss no row, wait for no lock, and report their progress."""

import base64
import io
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine, select, update

from domain import sealing, users, webhooks
from domain.configuration.settings import Settings
from domain.sealing import KeyRing
from domain.snapshots import User
from domain.tables import users as user_rows
from domain.tables import webhooks as webhook_rows
from domain.users import NewUser
from tests.api.logs import lines, logging_to
from tests.patience import until
from tests.worker.workers import working
from worker import resealing
from worker.resealing import Resealing

OLD, NEW = (f"{name}:{base64.b64encode(name[:1].encode() * 32).decode()}" for name in ("old", "new"))
BEFORE, BOTH = sealing.parse(OLD), sealing.parse(f"{NEW},{OLD}")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logging_to(io.StringIO()) as stream:
        yield stream


@pytest.fixture(autouse=True)
def few_rows_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "ROWS_PER_READ", 7)


def grow(engine: Engine, count: int, *, ring: KeyRing = BEFORE) -> list[UUID]:
    with engine.begin() as conn:
        new = [NewUser(f"bot-{uuid.uuid4().hex}", "s3cret") for _ in range(count)]
        return [user.id for user in users.create_many(conn, new=new, ring=ring) if isinstance(user, User)]


def keys(engine: Engine) -> list[str]:
    with engine.begin() as conn:
        return sorted(sealed.split(".")[1] for sealed in conn.execute(select(user_rows.c.password_sealed)).scalars())


def a_pass(passes: Resealing) -> None:
    """As many turns as a pass takes."""
    passes.kick()
    while not passes._pass.rows and not passes._due:
        passes.work()
    while passes._pass.rows or not passes._due:
        passes.work()


def rows(key: str, table: str = "users") -> float | None:
    return REGISTRY.get_sample_value("botfarm_sealed_rows", {"table": table, "key": key})


def left() -> float | None:
    return REGISTRY.get_sample_value("botfarm_reseal_left")


def test_a_pass_seals_all_rows_with_the_first_key_and_reports_it(engine: Engine, log: io.StringIO) -> None:
    grow(engine, 30)
    with engine.begin() as conn:
        webhook, secret = webhooks.create(conn, new=webhooks.NewWebhook("https://example.com"), ring=BEFORE)

    a_pass(Resealing(engine, BOTH))

    assert keys(engine) == ["new"] * 30
    assert (rows("new"), rows("old"), rows("new", "webhooks"), rows("old", "webhooks"), left()) == (30, 0, 1, 0, 0)
    (reported,) = [line for line in lines(log.getvalue()) if line["event"] == "passwords_resealed"]
    assert (reported["first"], reported["resealed"], reported["left"]) == ("new", 31, 0)
    with engine.begin() as conn:
        sealed = conn.execute(select(webhook_rows.c.secret_sealed)).scalar_one()
    assert sealing.parse(NEW).unseal(sealed, user_id=webhook.id) == secret


def test_locked_rows_are_counted_as_left_and_resealed_by_the_next_pass(engine: Engine) -> None:
    ids = grow(engine, 10)
    passes = Resealing(engine, BOTH)
    with engine.begin() as other:
        other.execute(select(user_rows.c.id).where(user_rows.c.id.in_(ids[:3])).with_for_update(key_share=True))
        a_pass(passes)
        assert (rows("new"), rows("old"), left()) == (7, 3, 3)

    a_pass(passes)

    assert (rows("new"), rows("old"), left()) == (10, 0, 0)
    assert passes._due - time.monotonic() > resealing.REST_SECONDS / 2  # and now it rests


def test_a_row_that_no_key_opens_raises_an_alert_and_starts_no_early_pass(engine: Engine, log: io.StringIO) -> None:
    ids = grow(engine, 3)
    with engine.begin() as conn:
        spoilt = update(user_rows).values(password_sealed="v1.gone.AAAA")
        conn.execute(spoilt.where(user_rows.c.id == ids[0]))
    counted = REGISTRY.get_sample_value("botfarm_password_unreadable_total") or 0

    a_pass(Resealing(engine, BOTH))

    assert (rows("new"), rows("unknown"), left()) == (2, 1, 1)
    assert REGISTRY.get_sample_value("botfarm_password_unreadable_total") == counted + 1
    (alert,) = [line for line in lines(log.getvalue()) if line["event"] == "password_unreadable"]
    assert (alert["level"], alert["ids"]) == ("critical", [str(ids[0])])


def test_without_keys_nothing_is_sealed_and_everything_counted(engine: Engine) -> None:
    grow(engine, 3)

    a_pass(Resealing(engine, KeyRing()))

    assert (keys(engine), left()) == (["old"] * 3, 3)


def test_a_pass_that_failed_starts_over_and_counts_nothing_twice(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(engine, 10)
    passes = Resealing(engine, BOTH)
    with monkeypatch.context() as patch:
        patch.setattr("domain.sealing.rotation.EXCHANGE", "SELECT 1/0, :ids, :sealed, :resealed")
        with pytest.raises(Exception, match="division by zero"):
            passes.work()

    a_pass(passes)

    assert (rows("new"), rows("old"), left()) == (10, 0, 0)


def test_two_workers_seal_each_row_once(engine: Engine) -> None:
    grow(engine, 40)
    first, second = Resealing(engine, BOTH), Resealing(engine, BOTH)
    before = REGISTRY.get_sample_value("botfarm_resealed_total") or 0

    for _ in range(30):
        first.work()
        second.work()

    assert keys(engine) == ["new"] * 40
    assert REGISTRY.get_sample_value("botfarm_resealed_total") == before + 40


def test_a_worker_reseals_by_itself_and_exports_its_progress(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    old = sealing.load(text="", file=settings.secret_keys_file)
    grow(engine, 50, ring=old)
    (old_id,) = old.keys
    text = Path(str(settings.secret_keys_file)).read_text()

    with working(settings, tmp_path, BOTFARM_SECRET_KEYS=f"{NEW},{text.strip()}") as worker:
        until(lambda: 'botfarm_sealed_rows{key="new",table="users"} 50.0' in worker.get("/metrics"))
        reported = worker.get("/metrics")

    assert keys(engine) == ["new"] * 50
    assert f'botfarm_sealed_rows{{key="{old_id}",table="users"}} 0.0' in reported
    assert "botfarm_reseal_left 0.0" in reported
    assert "passwords_resealed" in worker.said()
