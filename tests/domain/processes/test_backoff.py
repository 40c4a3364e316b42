"""Pauses after failures."""

from domain.processes.backoff import Backoff


def test_each_failure_doubles_the_pause_up_to_the_longest() -> None:
    backoff = Backoff(first=0.1, longest=0.5)

    assert [backoff.failed() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_a_success_resets_the_pause() -> None:
    backoff = Backoff(first=0.1, longest=0.5)
    backoff.failed()
    backoff.failed()

    backoff.reset()

    assert backoff.failed() == 0.1


def test_ten_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff(first=0.1, longest=2.0)

    assert [backoff.failed() for _ in range(10_000)][-1] == 2.0
