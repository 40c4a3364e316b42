"""The state of the farm for `/health` and `/readyz`: it is checked in the background, so that a report never waits."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from sqlalchemy import Connection, Engine

from domain import farm_state
from domain.farm_state import FarmState
from domain.postgres import schema_version, sessions
from domain.processes.probes import Figures, Finding, Probe
from domain.redis import clients

BEAT_SECONDS = 5.0  # a part of the worker without a heartbeat for longer is down
BACKLOG_SECONDS = 10.0
OLD_SECONDS = 60.0  # a transaction that is open for longer does harm: see domain/postgres/sessions.py
REDIS_TIMEOUT_SECONDS = 1.0

Status = Literal["ok", "degraded", "unavailable"]


class Monitor:
    """The probes of one app, and the report made of their last findings."""

    def __init__(self, checks: Mapping[str, Callable[[], Figures]]) -> None:
        self._probes = {name: Probe(name, check) for name, check in checks.items()}

    def start(self) -> None:
        for probe in self._probes.values():
            probe.start()

    def close(self) -> None:
        for probe in self._probes.values():
            probe.close()

    def report(self) -> tuple[Status, dict[str, dict[str, Any]]]:
        """The overall status and, per check, its status, figures and age in seconds."""
        database = self._probes["database"].finding()
        parts = {
            "postgres": _shown(database, "postgres"),
            "redis": _shown(self._probes["redis"].finding(), "redis"),
            "worker": _shown(database, "worker"),
            "outbox": _shown(database, "outbox"),
        }
        if parts["postgres"]["status"] == "down":
            return "unavailable", parts
        return ("ok" if all(part["status"] == "ok" for part in parts.values()) else "degraded"), parts

    def figures(self, check: str) -> Figures:
        """The last figures of a check; empty when it failed."""
        return self._probes[check].finding().figures or {}

    def ready(self) -> bool:
        """Whether Postgres answers and has the schema that this code needs."""
        return bool(self.figures("database").get("postgres", {}).get("schema_current"))


def database(engine: Engine) -> Callable[[], Figures]:
    """A check that reads the farm's state from Postgres, over its own connection."""

    def check() -> Figures:
        with engine.begin() as conn:
            state = farm_state.read(conn)
            return {
                "postgres": _postgres(conn),
                "worker": _worker(state),
                "outbox": _outbox(state),
                "gauges": state.gauges,
            }

    return check


def broker(url: str) -> Callable[[], Figures]:
    """A check that Redis answers."""
    client = clients.connect(url, timeout_seconds=REDIS_TIMEOUT_SECONDS)

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
    """Its age; when it does harm, also its pid and application, so that an operator can end it."""
    oldest = sessions.oldest_transaction(conn)
    if oldest is None or oldest.seconds < OLD_SECONDS:
        return {"oldest_transaction_seconds": _rounded(oldest.seconds) if oldest else None}
    return {
        "strained": True,
        "oldest_transaction_seconds": _rounded(oldest.seconds),
        "oldest_transaction": f"pid {oldest.pid}, application {oldest.application or 'unnamed'}",
    }


def _worker(state: FarmState) -> Figures:
    expiry = state.heartbeats.get("expiry")
    ages = [age for age in (state.relay_age_seconds, expiry) if age is not None]
    return {
        "ok": len(ages) == len(("relay", "expiry")) and max(ages) < BEAT_SECONDS,
        "heartbeat_age_seconds": _rounded(state.relay_age_seconds),
        "expiry_age_seconds": _rounded(expiry),
        "lapsed_locks": state.locks_lapsed,
        "oldest_lapsed_seconds": _rounded(state.oldest_lapsed_seconds),
    }


def _outbox(state: FarmState) -> Figures:
    return {
        "ok": (state.outbox_oldest_seconds or 0) < BACKLOG_SECONDS,
        "pending": state.outbox_pending,
        "oldest_seconds": _rounded(state.outbox_oldest_seconds),
        "relay_lag": state.relay_lag,
        "last_seq": state.last_seq,
        "epoch": state.epoch,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _shown(finding: Finding, part: str) -> dict[str, Any]:
    figures = dict((finding.figures or {}).get(part, {}))
    status = _status(ok=figures.pop("ok", False), strained=figures.pop("strained", False))
    return {"status": status, "checked_seconds_ago": round(finding.age_seconds, 3), **figures}


def _status(*, ok: bool, strained: bool) -> str:
    if not ok:
        return "down"
    return "degraded" if strained else "ok"
