"""Hostile callers are sent to the farms of the API's tests."""

from tests.api.fixtures import fresh_settings, plain_logs

__all__ = ["fresh_settings", "plain_logs"]
