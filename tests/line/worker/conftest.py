"""The worker's part in the line is tried with the fixtures of the worker's tests."""

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
]
