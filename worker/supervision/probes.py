"""The checks of Postgres and Redis that the supervisor's probes run."""

from collections.abc import Callable

from sqlalchemy import Engine

from domain import farm_state, webhooks
from domain.processes.probes import Figures
from domain.redis import clients

PATIENCE_SECONDS = 2.0


def postgres(engine: Engine) -> Callable[[], Figures]:
    """A check that reads the state of the farm and its webhooks from the database."""

    def check() -> Figures:
        with engine.begin() as conn:
            state = farm_state.read(conn)
            hooks = webhooks.figures(conn)
            return {
                **state.gauges,
                "last_seq": state.last_seq,
                "webhooks_active": hooks.active,
                "webhooks_failing": hooks.failing,
                "webhooks_paused": hooks.paused,
                "webhooks_disabled": hooks.disabled,
                "webhooks_lag": hooks.lag,
                "heartbeats": state.heartbeats,
            }

    return check


def broker(url: str) -> Callable[[], Figures]:
    """A check that Redis answers."""
    client = clients.connect(url, timeout_seconds=PATIENCE_SECONDS)

    def check() -> Figures:
        client.ping()
        return {}

    return check
