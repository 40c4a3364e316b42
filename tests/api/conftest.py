"""The farms of `fixtures`, for every test of the API."""

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
