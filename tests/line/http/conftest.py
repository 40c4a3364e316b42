"""The line over HTTP is tried on the farms of the API's tests."""

from tests.api.fixtures import (
    crowded,
    farm,
    fresh_settings,
    own_postgres,
    plain_logs,
    process,
    served,
    spare_postgres,
    user,
    user_id,
)

__all__ = [
    "crowded",
    "farm",
    "fresh_settings",
    "own_postgres",
    "plain_logs",
    "process",
    "served",
    "spare_postgres",
    "user",
    "user_id",
]
