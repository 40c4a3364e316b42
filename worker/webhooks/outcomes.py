"""Outcomes: what a try came to, in a form that any database can store and any schedule can follow."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from domain.webhooks import Outcome
from domain.webhooks.schedules import LONGEST
from worker.webhooks.exchanges import Reply

ANSWER_KEPT = 1_024
DIGITS_MOST = 9  # beyond that, no number of sense
DATE_MOST = 40  # the longest of RFC 9110's dates has 33 characters


def of_reply(reply: Reply, *, moment: datetime) -> Outcome:
    return Outcome(
        requested_at=moment,
        latency=timedelta(seconds=reply.seconds),
        status=reply.status,
        error=None if reply.error is None else _storable(reply.error),
        answer=_storable(reply.body[:ANSWER_KEPT].decode(errors="replace")) or None,
        retry_after=retry_after((reply.headers or {}).get("retry-after"), moment=moment),
    )


def of_defect(error: Exception, *, moment: datetime, seconds: float) -> Outcome:
    """A failed try by a fault of ours. Only the class is listed: a text might quote a secret."""
    return Outcome(moment, timedelta(seconds=seconds), None, f"internal-error: {type(error).__name__}", None)


def retry_after(header: str | None, *, moment: datetime) -> timedelta | None:
    """RFC 9110: whole seconds, or a date, from none to a day from `moment`; None for anything else."""
    if header is None or not header.isascii():
        return None
    if header.isdigit():
        return min(timedelta(seconds=int(header)), LONGEST) if len(header) <= DIGITS_MOST else None
    if len(header) > DATE_MOST:
        return None
    try:
        date = parsedate_to_datetime(header)
        left = (date if date.tzinfo else date.replace(tzinfo=UTC)) - moment
    except (ArithmeticError, LookupError, TypeError, ValueError):  # the parser's own faults included
        return None
    return max(timedelta(0), min(left, LONGEST))


def kind(outcome: Outcome) -> str:
    """A few words for all that a try can come to: they are labels of a metric."""
    if outcome.delivered:
        return "delivered"
    if outcome.error is not None:
        return outcome.error.partition(":")[0]
    return "gone" if outcome.gone else "refused"


def _storable(text: str) -> str:
    """Without what Postgres cannot store: NUL, and surrogates, which the system's error texts may have."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
