"""Timestamps as Botfarm writes them, in answers, events and logs: RFC 3339 in UTC, microseconds always, `Z`."""

from datetime import UTC, datetime
from functools import lru_cache


def utc(moment: datetime) -> str:
    """The moment, which must know its time zone. Each answer has five, and `isoformat` takes twice as long."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    second = _second(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    return f"{second}.{moment.microsecond:06}Z"


@lru_cache(maxsize=4_096)
def _second(year: int, month: int, day: int, hour: int, minute: int, second: int) -> str:
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
