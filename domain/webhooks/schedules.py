"""When an event that was not acknowledged is tried again."""

import random
from datetime import timedelta

# Before the first try, the second and so on, as Standard Webhooks recommends; after the last one it is over.
DELAYS = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
JITTER = 0.1  # each pause is up to a tenth longer, so that what failed together does not come back together
LONGEST = max(DELAYS)


def pause(*, failures: int, retry_after: timedelta | None) -> timedelta | None:
    """How long to wait after so many failures; None when that was the last try.

    A receiver may ask for a longer pause, up to a day, never for a shorter one.
    """
    if failures >= len(DELAYS):
        return None
    planned = DELAYS[failures] * (1 + random.uniform(0, JITTER))  # noqa: S311  -- nothing secret
    return planned if retry_after is None else max(planned, min(retry_after, LONGEST))
