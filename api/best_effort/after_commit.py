"""What follows once a batch of changes is committed: metrics, the cache, and the waiting line."""

from collections.abc import Sequence

from api.best_effort.cache_writer import CacheWriter
from api.execution.dispatcher import Dispatcher
from api.execution.group_commit import Outcome
from api.observability.metrics import Metrics
from domain.locks import Grant, Released
from domain.requests import Granted


class AfterCommit:
    """Called after each commit, on the thread that made it; nothing here waits for anything."""

    def __init__(self, metrics: Metrics, writer: CacheWriter, dispatcher: Dispatcher) -> None:
        self._metrics = metrics
        self._writer = writer
        self._dispatcher = dispatcher

    def of_changes(self, outcomes: Sequence[Outcome]) -> None:
        """Of lock changes."""
        self._metrics.outcomes(outcomes)
        self._writer.offer_outcomes(outcomes)
        if any(isinstance(outcome, Released) and outcome.released for outcome in outcomes):
            self._dispatcher.freed()

    def of_requests(self, outcomes: Sequence[Outcome]) -> None:
        """Of requests for users, whether they were served at once or from the line."""
        self._metrics.outcomes(outcomes)
        self._writer.offer_outcomes([grant for outcome in outcomes for grant in _grants(outcome)])
        if any(_frees(outcome) for outcome in outcomes):
            self._dispatcher.freed()


def _grants(outcome: Outcome) -> Sequence[Grant]:
    if isinstance(outcome, Grant):
        return [outcome]
    return outcome.grants if isinstance(outcome, Granted) else ()


def _frees(outcome: Outcome) -> bool:
    """Whether a request with leases was cancelled, or a late grant to a key with a limit was undone."""
    return outcome is True or (isinstance(outcome, Released) and outcome.released)
