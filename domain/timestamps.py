"""Timestamps as Botfarm writes them, in answers and events: RFC 3339 in UTC, microseconds always, `Z`."""

from datetime import UTC, datetime


def utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"
