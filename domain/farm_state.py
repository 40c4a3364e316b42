"""The state of the farm as health checks and metrics report it: read once here, by API and worker alike."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from domain import heartbeats, locks
from domain.events import epochs, outbox
from domain.metrics import FARM_GAUGES


@dataclass(frozen=True, slots=True)
class FarmState:
    """Ages are in seconds by the database's clock, and None where there is nothing of that kind."""

    epoch: int
    last_seq: int
    relay_lag: int
    relay_age_seconds: float | None
    outbox_pending: int
    outbox_oldest_seconds: float | None
    locks_lapsed: int
    oldest_lapsed_seconds: float | None
    heartbeats: Mapping[str, float]

    @property
    def gauges(self) -> dict[str, float]:
        """The values of the metrics that API and worker share, by the keys of FARM_GAUGES."""
        return {field: getattr(self, field) or 0 for field in FARM_GAUGES}


def read(conn: Connection) -> FarmState:
    state = epochs.read(conn)
    pending, oldest_pending = outbox.backlog(conn)
    lapsed, oldest_lapsed = locks.lapsed(conn)
    return FarmState(
        epoch=state.epoch,
        last_seq=state.last_seq,
        relay_lag=state.last_seq - state.published_seq,
        relay_age_seconds=epochs.beat_age(conn),
        outbox_pending=pending,
        outbox_oldest_seconds=oldest_pending,
        locks_lapsed=lapsed,
        oldest_lapsed_seconds=oldest_lapsed,
        heartbeats=heartbeats.ages(conn),
    )
