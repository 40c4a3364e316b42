"""The relays, workers and receivers of `fixtures`, for every test of the worker."""

from tests.worker.fixtures import (
    farm,
    hooks,
    make_duties,
    make_relay,
    outsider,
    receiver,
    relay,
    single,
    start_worker,
    stream,
    tls,
)

__all__ = [
    "farm",
    "hooks",
    "make_duties",
    "make_relay",
    "outsider",
    "receiver",
    "relay",
    "single",
    "start_worker",
    "stream",
    "tls",
]
