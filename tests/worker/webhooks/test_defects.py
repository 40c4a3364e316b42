"""Whatever comes out of a try counts as a failed try, and nothing else does."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
from dramatiq.middleware import TimeLimitExceeded
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from domain import webhooks
from tests.worker.farms import Farm
from tests.worker.webhooks.hooks import Hooks
from tests.worker.webhooks.receivers import Receiver, answering
from worker.webhooks import deliveries, outcomes, signatures
from worker.webhooks.guarded_client import Client, Outbound

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
DEFECTS: Sequence[Exception] = [
    RuntimeError("whsec_c2VjcmV0"),
    OverflowError("too large"),
    UnicodeDecodeError("idna", b"\xff", 0, 1, "no"),
    RecursionError(),
    ExceptionGroup("several", [ValueError(), KeyError()]),
    KeyError("x"),
    AssertionError(),
    EOFError("\ud800\0"),
]
WHERE = [(signatures, "body"), (signatures, "headers"), (Client, "post"), (outcomes, "of_reply")]


def raising(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize("place", WHERE, ids=lambda place: place[1])
@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: type(error).__name__)
def test_an_exception_of_ours_is_a_failed_try_that_is_listed_logged_and_tried_again_later(
    farm: Farm, hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, place: Any, error: Exception
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(2)
    (began,) = hooks.execute("SELECT clock_timestamp() AS now")
    with monkeypatch.context() as patched, capture_logs() as logs:
        owner, name = place
        patched.setattr(owner, name, raising(error))
        assert (hooks.turn(), hooks.turn()) == (1, 0)
    failing = hooks.get(webhook_id)

    hooks.hasten(webhook_id)
    hooks.turn()

    name = type(error).__name__
    assert failing.attempt == 1
    assert failing.next_attempt_at is not None
    assert failing.next_attempt_at > began.now
    latest = hooks.deliveries(webhook_id)[0]
    assert (latest.status, latest.error) == (None, f"internal-error: {name}")
    assert [log["log_level"] for log in logs if log["event"] == "webhook_try_broken" and log["exc_info"]] == ["error"]
    assert receiver.seqs[-2:] == [1, 2]
    assert hooks.get(webhook_id).attempt == 0


def test_a_defect_that_stays_ends_as_any_failure_does(
    farm: Farm, hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(1)
    monkeypatch.setattr(signatures, "headers", raising(RuntimeError()))

    for _ in webhooks.schedules.DELAYS:
        hooks.turn()
        hooks.hasten(webhook_id)

    assert (hooks.get(webhook_id).status, hooks.get(webhook_id).status_reason) == ("disabled", "retries-exhausted")


def test_an_exception_while_an_event_is_sent_again_is_noted_once(
    farm: Farm, hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(1)
    hooks.turn()
    (delivery,) = hooks.deliveries(webhook_id)
    with hooks.engine.begin() as conn:
        webhooks.ask_again(conn, webhook_id=webhook_id, delivery_id=delivery.id)
    monkeypatch.setattr(signatures, "headers", raising(RuntimeError()))

    assert (hooks.turn(), hooks.turn()) == (1, 0)

    assert [d.error for d in hooks.deliveries(webhook_id)] == [None, "internal-error: RuntimeError"]


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_\xe4", "whsec_!", "x"])
def test_a_secret_that_cannot_sign_is_a_failed_try_and_is_not_shown(
    farm: Farm, hooks: Hooks, receiver: Receiver, secret: str
) -> None:
    webhook_id = hooks.create(receiver.url)
    sealed = hooks.ring.seal(secret, user_id=webhook_id)
    hooks.execute("UPDATE webhooks SET secret_sealed = :sealed", sealed=sealed)
    farm.change(1)

    hooks.turn()

    (delivery,) = hooks.deliveries(webhook_id)
    assert (delivery.error or "").startswith("internal-error: ")
    assert not secret or secret not in (delivery.error or "").partition(":")[2].split()
    assert hooks.get(webhook_id).attempt == 1


@pytest.mark.parametrize("ending", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(), TimeLimitExceeded()])
def test_what_ends_the_thread_is_no_failure_of_the_receiver(
    farm: Farm, hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, ending: BaseException
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(1)
    monkeypatch.setattr(signatures, "headers", raising(ending))

    with pytest.raises(type(ending)):
        hooks.turn()

    assert hooks.deliveries(webhook_id) == []
    assert hooks.get(webhook_id).attempt == 0


@pytest.mark.parametrize("verb", ["look", "delivered", "failed"])
def test_a_database_that_fails_is_no_failure_of_the_receiver(
    farm: Farm, hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    webhook_id = hooks.create(receiver.url)
    receiver.behave = answering(500 if verb == "failed" else 204)
    farm.change(1)
    monkeypatch.setattr(webhooks, verb, raising(OperationalError("x", {}, Exception("gone"))))

    hooks.turn()

    assert hooks.deliveries(webhook_id) == []
    assert hooks.get(webhook_id).attempt == 0
    assert hooks.execute("SELECT claimed_until > clock_timestamp() AS held FROM webhooks")[0].held is True


def test_a_resolver_that_breaks_is_a_failed_try(
    farm: Farm, hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook_id = hooks.create("http://hooks.example/")
    hooks.deliverer.outbound = Outbound(resolve=raising(KeyError()))
    farm.change(1)

    hooks.turn()

    assert [d.error for d in hooks.deliveries(webhook_id)] == ["internal-error: KeyError"]


def test_negative_control_without_the_guard_nothing_is_listed_and_no_schedule_moves(
    farm: Farm, hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook_id = hooks.create(receiver.url)
    farm.change(1)
    monkeypatch.setattr(deliveries.Sender, "_try", lambda self, run, event, at: self._post(run, event, run.now))
    monkeypatch.setattr(signatures, "headers", raising(RuntimeError()))

    with pytest.raises(RuntimeError):
        hooks.turn()

    assert hooks.deliveries(webhook_id) == []
    assert hooks.get(webhook_id).attempt == 0


DATES = st.from_regex(
    rb"(Mon|Sun|X), \d{1,25} (Jan|Feb|13) -?\d{1,25} \d{1,22}:\d\d:\d\d ([A-Z]{1,4}|[+-]\d{1,22})?", fullmatch=True
)


@given(st.binary(max_size=200) | DATES | st.from_regex(rb"[+-]?\d{1,40}(\.\d+)?", fullmatch=True))
@example(b"Mon, 99999999999999999999 Jan 2026 00:00:00 GMT")
@example(b"Thu, 01 Jan 2026 00:00:00 -99999999999999")
@example(b"1 Jan 99999999999 00:00:00 GMT")  # short enough to be parsed, which overflows
@example(b"99999999999 Jan 2026 00:00:00 GMT")
@example(b"1 Jan 2026 99999999999:00:00 GMT")
@example(b"1 Jan 2026 00:00:00 +99999999999999")
@example(b"Thu, 01 Jan 2026 00:00:00 +2400")
@example("\u0663".encode())
@example(b"\xb2")
@example(b",")
@example(b"")
def test_no_header_makes_a_pause_below_nothing_or_above_a_day(header: bytes) -> None:
    pause = outcomes.retry_after(header.decode("latin-1"), moment=MOMENT)

    assert pause is None or timedelta(0) <= pause <= webhooks.schedules.LONGEST


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("86401", 86_400),
        ("-1", None),
        ("+5", None),
        ("1.5", None),
        ("\u0663", None),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Thursday, 01-Jan-26 00:01:00 GMT", 60),
        ("Thu Jan  1 00:01:00 2026", 60),
        ("Thu, 01 Jan 2026 00:01:00 +0000", 60),
        ("Thu, 01 Jan 2099 00:01:00 GMT", 86_400),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Mon, 99999999999999999999 Jan 2026 00:00:00 GMT", None),
        (None, None),
    ],
)
def test_a_wait_is_read_as_rfc_9110_says(header: str | None, seconds: int | None) -> None:
    pause = outcomes.retry_after(header, moment=MOMENT)

    assert (None if pause is None else pause.total_seconds()) == seconds
