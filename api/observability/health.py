"""The state of the farm, looked at once a second in the background: whatever hangs, `/health` answers at once."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Connection, Engine

from domain import heartbeats, locks, log
from domain.events import epochs, outbox
from domain.postgres import schema_version, sessions

EVERY_SECONDS = 1.0
STALE_SECONDS = 4.0  # a check that has said nothing for so long hangs
BEAT_SECONDS = 5.0  # a part of the worker that was not seen for so long is down
BACKLOG_SECONDS = 10.0
OLD_SECONDS = 60.0  # a transaction that has been open for so long harms: see domain/postgres/sessions.py

Status = Literal["ok", "degraded", "unavailable"]
Figures = Mapping[str, Any]

log_ = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found at `at` (monotonic seconds)."""

    ok: bool
    figures: Figures
    at: float


@dataclass(eq=False)
class Monitor:
    """Runs each check in a thread of its own, so that one that hangs holds up no other."""

    checks: Mapping[str, Callable[[], Figures]]
    _findings: dict[str, Finding] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        for name, check in self.checks.items():
            threading.Thread(target=self._run, args=(name, check), name=f"check-{name}", daemon=True).start()

    def close(self) -> None:
        self._stopping.set()

    def report(self) -> tuple[Status, dict[str, dict[str, Any]]]:
        """The overall status and, per check, its status, figures and age in seconds."""
        database = self._finding("database")
        parts = {
            "postgres": _shown(database, "postgres"),
            "redis": _shown(self._finding("redis"), "redis"),
            "worker": _shown(database, "worker"),
            "outbox": _shown(database, "outbox"),
        }
        if parts["postgres"]["status"] == "down":
            return "unavailable", parts
        return ("ok" if all(part["status"] == "ok" for part in parts.values()) else "degraded"), parts

    def figures(self, check: str) -> Figures:
        """The last figures of a check, however old; nothing when it failed."""
        return self._finding(check).figures

    def ready(self) -> bool:
        """Whether Postgres answers and has the schema that this code needs."""
        finding = self._finding("database")
        return finding.ok and bool(finding.figures["postgres"].get("schema_current"))

    def _finding(self, name: str) -> Finding:
        nothing = Finding(ok=False, figures={}, at=time.monotonic())
        finding = self._findings.get(name, nothing)
        hangs = time.monotonic() - finding.at > STALE_SECONDS
        return Finding(ok=False, figures={}, at=finding.at) if hangs else finding

    def _run(self, name: str, check: Callable[[], Figures]) -> None:
        while not self._stopping.is_set():
            try:
                figures, ok = check(), True
            except Exception as error:  # noqa: BLE001  -- whatever it is, it is what the check has found
                figures, ok = {}, False
                log_.warning("check_failed", check=name, error=type(error).__name__)
            self._findings[name] = Finding(ok, figures, time.monotonic())
            self._stopping.wait(EVERY_SECONDS)


def database(engine: Engine) -> Callable[[], Figures]:
    """A check that reads all that Postgres knows of the farm's state, over a connection of its own."""

    def check() -> Figures:
        with engine.begin() as conn:
            return {"postgres": _postgres(conn), "worker": _worker(conn), "outbox": _outbox(conn)}

    return check


def broker(url: str) -> Callable[[], Figures]:
    """A check that Redis answers."""
    client = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))

    def check() -> Figures:
        client.ping()
        return {"redis": {"ok": True}}

    return check


def _postgres(conn: Connection) -> Figures:
    return {
        "ok": True,
        "schema": schema_version.current(conn),
        "schema_current": schema_version.is_current(conn),
        **_oldest_transaction(conn),
    }


def _oldest_transaction(conn: Connection) -> Figures:
    """Its age; once it harms, also whose it is, for somebody to end it."""
    oldest = sessions.oldest_transaction(conn)
    if oldest is None or oldest.seconds < OLD_SECONDS:
        return {"oldest_transaction_seconds": _rounded(oldest.seconds) if oldest else None}
    return {
        "strained": True,
        "oldest_transaction_seconds": _rounded(oldest.seconds),
        "oldest_transaction": f"pid {oldest.pid}, application {oldest.application or 'unnamed'}",
    }


def _worker(conn: Connection) -> Figures:
    ages = heartbeats.ages(conn)
    relay = epochs.beat_age(conn)
    lapsed, oldest_seconds = locks.lapsed(conn)
    seen = [age for age in (relay, ages.get("expiry")) if age is not None]
    return {
        "ok": len(seen) == len(("relay", "expiry")) and max(seen) < BEAT_SECONDS,
        "heartbeat_age_seconds": _rounded(relay),
        "expiry_age_seconds": _rounded(ages.get("expiry")),
        "lapsed_locks": lapsed,
        "oldest_lapsed_seconds": _rounded(oldest_seconds),
    }


def _outbox(conn: Connection) -> Figures:
    pending, oldest_seconds = outbox.backlog(conn)
    state = epochs.read(conn)
    return {
        "ok": (oldest_seconds or 0) < BACKLOG_SECONDS,
        "pending": pending,
        "oldest_seconds": _rounded(oldest_seconds),
        "relay_lag": state.last_seq - state.published_seq,
        "last_seq": state.last_seq,
        "epoch": state.epoch,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _shown(finding: Finding, part: str) -> dict[str, Any]:
    figures = dict(finding.figures.get(part, {}))
    ok = finding.ok and figures.pop("ok", False)
    strained = figures.pop("strained", False)
    age = round(time.monotonic() - finding.at, 3)
    return {"status": _status(ok=ok, strained=strained), "checked_seconds_ago": age, **figures}


def _status(*, ok: bool, strained: bool) -> str:
    if not ok:
        return "down"
    return "degraded" if strained else "ok"
